# Which shared libraries, and versions of their symbols, a wheel's machine code links to and this image lacks, as the
# image's own dynamic linker says.
# Standard input: the wheel. Standard output: one name a line.
import io, os, re, subprocess, sys, tempfile, zipfile

missing = set()
with tempfile.TemporaryDirectory() as top:
    zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read())).extractall(top)
    for directory, _, names in os.walk(top):
        for path in (os.path.join(directory, name) for name in names):
            with open(path, "rb") as file:
                if file.read(4) != b"\x7fELF":
                    continue
            # Which of the two a lacking version is said on depends on the C library.
            listed = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            lines = map(str.split, listed.stdout.splitlines())
            missing.update(words[0] for words in lines if words[1:] == ["=>", "not", "found"])
            versions = re.findall(r"(\S+): version `(\S+)' not found", listed.stdout)
            missing.update(f"{version} of {os.path.basename(library)}" for library, version in versions)
print("\n".join(sorted(missing)))
