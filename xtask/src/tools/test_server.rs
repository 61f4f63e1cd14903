//! An HTTP server inside a test: gives prepared answers in turn and remembers what it was asked.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use url::Url;

/// One answer; the connection is closed behind it.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
    /// How many bytes of the body are sent.
    sent: usize,
    stalls: bool,
    hangs_up: bool,
}

impl Answer {
    /// With status 200. `PORT` in a body that is text becomes the server's port.
    pub fn ok(kind: &str, body: impl Into<Vec<u8>>) -> Answer {
        let body = body.into();
        Answer {
            status: 200,
            headers: vec![format!("Content-Type: {kind}")],
            sent: body.len(),
            body,
            stalls: false,
            hangs_up: false,
        }
    }

    /// With an empty body.
    pub fn status(status: u16) -> Answer {
        Answer {
            status,
            ..Answer::ok("text/plain", "")
        }
    }

    /// The connection stays open and nothing comes.
    pub fn silence() -> Answer {
        Answer::hang_up().stalled()
    }

    /// The connection is closed as soon as the request was read.
    pub fn hang_up() -> Answer {
        Answer {
            hangs_up: true,
            ..Answer::ok("text/plain", "")
        }
    }

    /// Adds a header as a whole line, `Name: value`; `PORT` in it becomes the server's port.
    pub fn header(mut self, line: &str) -> Answer {
        self.headers.push(line.to_owned());
        self
    }

    /// Only the first bytes of the body come, though all are announced.
    pub fn cut(mut self, bytes: usize) -> Answer {
        self.sent = bytes;
        self
    }

    /// The connection stays open behind what was sent.
    pub fn stalled(mut self) -> Answer {
        self.stalls = true;
        self
    }
}

/// Listens on a free port of the loopback interface until its answers are used up.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    /// How long its client is to wait: for an answer that never ends a short time, else longer than a busy machine takes
    /// for a good one.
    pub patience: Duration,
}

impl Server {
    /// Gives each connection the next of `answers`.
    pub fn start(answers: Vec<Answer>) -> Server {
        let stalls = answers.iter().any(|answer| answer.stalls);
        let patience = Duration::from_secs(if stalls { 2 } else { 30 });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            let mut open = Vec::new();
            for answer in answers {
                let Ok((mut stream, _)) = listener.accept() else {
                    return;
                };
                let request = read_request(&mut stream);
                seen.lock().unwrap().push(request);
                if answer.hangs_up {
                    open.extend(answer.stalls.then_some(stream));
                    continue;
                }
                let body = match str::from_utf8(&answer.body) {
                    Ok(text) => text.replace("PORT", &address.port().to_string()).into(),
                    Err(_) => answer.body.clone(),
                };
                let sent = if answer.sent == answer.body.len() {
                    body.len()
                } else {
                    answer.sent
                };
                let head = format!(
                    "HTTP/1.1 {} X\r\n{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    answer.status,
                    answer
                        .headers
                        .join("\r\n")
                        .replace("PORT", &address.port().to_string()),
                    body.len()
                );
                // A client that hung up is the client's business.
                let _ = stream
                    .write_all(head.as_bytes())
                    .and_then(|()| stream.write_all(&body[..sent]));
                if answer.stalls {
                    open.push(stream);
                }
            }
        });
        Server {
            address,
            requests,
            patience,
        }
    }

    /// The address of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> Url {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    /// The requests so far, head only.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Its head. The body is read too: closing a connection with bytes unread can cost the client the answer.
fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        bytes.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().ok())?
    });
    // A client that hung up is the client's business.
    let _ = io::copy(&mut stream.take(length.unwrap_or(0)), &mut io::sink());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_whole_before_it_is_answered() {
        let server = Server::start(vec![Answer::status(201)]);
        let mut stream = TcpStream::connect(server.address).unwrap();
        // More than the system holds of what nobody reads.
        let body = vec![0; 64 << 20];
        let head = format!("PUT / HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    }
}
