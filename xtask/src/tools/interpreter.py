# Tells what connectors' packages are chosen by: the interpreter, whether there is a user airbyte and, when asked
# (`installed`), the distributions that are where connectors' packages go, each with its paths.
import json, os, platform, pwd, sys

PREFIX = "/usr/local"
SITE = "%s/lib/python%d.%d/site-packages" % (PREFIX, *sys.version_info[:2])
# Directories that belong to no distribution.
SHARED = {PREFIX, SITE} | {os.path.join(PREFIX, name) for name in ("bin", "etc", "include", "lib", "share", "share/man")}


def files_of(distribution):
    """Its files by its RECORD (or what older installers left), with their byte-code, as far as they are there."""
    named = (os.path.normpath(str(distribution.locate_file(file))) for file in distribution.files or ())
    files = {path for path in named if path.startswith(PREFIX + "/") and os.path.lexists(path)}
    for path in [path for path in files if path.endswith(".py")]:
        directory, name = os.path.split(path)
        cache = os.path.join(directory, "__pycache__")
        found = os.listdir(cache) if os.path.isdir(cache) else ()
        files.update(os.path.join(cache, other) for other in found if other.startswith(name[:-2]))
    return files


def is_own(directory, files):
    return directory not in SHARED and all(
        os.path.join(above, name) in files for above, _, names in os.walk(directory) for name in names
    )


def paths_of(files):
    """The topmost directories in which there is nothing else, and the files beside them."""
    paths, own = set(), {}
    for path in files:
        top, above = path, os.path.dirname(path)
        while above.startswith(PREFIX + "/"):
            if above not in own:
                own[above] = is_own(above, files)
            if not own[above]:
                break
            top, above = above, os.path.dirname(above)
        paths.add(top[1:])
    return sorted(paths)


def installed():
    from importlib.metadata import distributions

    for distribution in distributions(path=[SITE]):
        told = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO")
        name = told and distribution.metadata["Name"]
        paths = paths_of(files_of(distribution))
        if name and distribution.version and paths:
            yield {"name": name, "version": distribution.version, "paths": paths}


answer = {
    "python": platform.python_version(),
    "libc": platform.libc_ver(),
    "airbyte": "airbyte" in [user.pw_name for user in pwd.getpwall()],
    "installed": sorted(installed(), key=lambda one: (one["name"].lower(), one["paths"])) if "installed" in sys.argv else [],
}
print(json.dumps(answer))
