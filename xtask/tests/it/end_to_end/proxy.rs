//! Stands before a registry and decides about each request: passed on, answered here, or held.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// What happens to a request.
pub enum Verdict {
    Pass,
    /// Passed on, and the answer never arrives.
    Lose,
    /// The client gets these bytes; none is a connection that is cut.
    Answer(String),
    /// The client waits until it is killed.
    Hold,
}

/// An answer without a body.
pub fn status(line: &str) -> Verdict {
    Verdict::Answer(format!(
        "HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    ))
}

/// Starts one before the registry at `to`; its address. `judge` sees the first line of each request, as
/// `HEAD /v2/airbyte/source-a/manifests/1.2.3 HTTP/1.1`.
pub fn before(to: &str, judge: impl Fn(&str) -> Verdict + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (to, judge) = (to.to_owned(), Arc::new(judge));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, to, judge) = (client.unwrap(), to.clone(), Arc::clone(&judge));
            // A client that hung up is the client's business.
            thread::spawn(move || serve(client, &to, &*judge));
        }
    });
    address
}

fn serve(mut client: TcpStream, to: &str, judge: &dyn Fn(&str) -> Verdict) -> io::Result<()> {
    let head = read_head(&mut client);
    let verdict = judge(head.lines().next().unwrap_or_default());
    match verdict {
        Verdict::Pass | Verdict::Lose => {
            let mut upstream = TcpStream::connect(to)?;
            let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
            upstream.write_all(head.as_bytes())?;
            let (mut from, mut to) = (client.try_clone()?, upstream.try_clone()?);
            thread::spawn(move || io::copy(&mut from, &mut to));
            match verdict {
                Verdict::Lose => io::copy(&mut upstream, &mut io::sink())?,
                _ => io::copy(&mut upstream, &mut client)?,
            };
            client.shutdown(Shutdown::Both)
        }
        Verdict::Answer(bytes) => {
            client.write_all(bytes.as_bytes())?;
            // What the client still sends is taken, or its end would see a reset before the answer.
            client.shutdown(Shutdown::Write)?;
            client.read_to_end(&mut Vec::new()).map(drop)
        }
        Verdict::Hold => client.read_to_end(&mut Vec::new()).map(drop),
    }
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}
