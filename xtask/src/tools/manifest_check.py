"""Judges manifests by the CDK of the interpreter that runs this: reads {name: {"manifest", "components"}} as JSON
from standard input and prints {"cdk": version, "found": {name: [{"file", "path" or "line", "message"}]}}.

The steps are those of the CDK's own declarative source: resolve references, pass types and parameters on, then
the schema of declarative components. Nothing of a connector is run: components are only compiled.
"""

import ast
import json
import pkgutil
import sys
from importlib.metadata import version

import yaml
from airbyte_cdk.sources.declarative.parsers.manifest_component_transformer import ManifestComponentTransformer
from airbyte_cdk.sources.declarative.parsers.manifest_reference_resolver import ManifestReferenceResolver
from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for

MANIFEST, COMPONENTS = "manifest.yaml", "components.py"


def fault(message, file=MANIFEST, path=(), line=None):
    return {"file": file, "path": [str(part) for part in path], "line": line, "message": message}


def deepest(error):
    """Of the alternatives that failed, the one that came furthest: its error says what to change."""
    while error.context:
        kinds = [e for e in error.context if list(e.path) == ["type"] and e.validator == "enum"]
        others = {e.schema_path[0] for e in kinds}
        # An alternative of another `type` was not meant.
        meant = [e for e in error.context if e.schema_path[0] not in others]
        error = best_match(meant or error.context)
    return error


def custom_classes(node, path=()):
    if isinstance(node, dict):
        if isinstance(node.get("class_name"), str):
            yield node["class_name"], (*path, "class_name")
        for key, value in node.items():
            yield from custom_classes(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from custom_classes(value, (*path, index))


def components_faults(text):
    """The names that components.py defines, and what keeps it from being compiled."""
    if text is None:
        return None, []
    try:
        tree = ast.parse(text, COMPONENTS)
        compile(tree, COMPONENTS, "exec")
    except SyntaxError as error:
        return None, [fault(f"it does not compile: {error.msg}", COMPONENTS, line=error.lineno)]
    except Exception as error:
        return None, [fault(f"it does not compile: {error!r}", COMPONENTS, line=1)]
    names, nodes = set(), [tree]
    while nodes:
        # What a branch defines the module has too; what a function or a class defines it has not.
        for node in ast.iter_child_nodes(nodes.pop()):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names.add(node.name)
            elif isinstance(node, ast.alias):
                names.add(node.asname or node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            else:
                nodes.append(node)
    # `from x import *` may define anything.
    return None if "*" in names else names, []


def manifest_faults(text, schema, names, has_components):
    try:
        manifest = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        return [fault(f"it is no YAML: {getattr(error, 'problem', error)}", line=mark.line + 1 if mark else 1)]
    except Exception as error:
        # What has the form of a date, a number or the like, and is none.
        return [fault(f"it holds a value that can't be read: {error}", line=1)]
    if not isinstance(manifest, dict):
        return [fault("it is no mapping")]
    try:
        resolved = ManifestReferenceResolver().preprocess_manifest(manifest)
        resolved = ManifestComponentTransformer().propagate_types_and_parameters("", resolved, {})
    except Exception as error:
        return [fault(f"its references can't be resolved: {error}")]
    faults = []
    if not (resolved.get("streams") or resolved.get("dynamic_streams")):
        faults.append(fault("it defines no stream", path=["streams"]))
    for error in validator_for(schema)(schema).iter_errors(resolved):
        error = deepest(error)
        message = error.message if len(error.message) < 300 else f"{error.message[:300]}..."
        faults.append(fault(message, path=error.absolute_path))
    seen = set()
    for name, path in custom_classes(resolved):
        module, _, own = name.rpartition(".")
        if module.split(".")[-1] != "components" or name in seen:
            continue
        seen.add(name)
        if not has_components:
            faults.append(fault(f"`{name}` is wanted, yet there is no {COMPONENTS}", path=path))
        elif names is not None and own not in names:
            faults.append(fault(f"`{name}` is wanted, yet {COMPONENTS} defines no {own}", path=path))
    return faults


def main():
    schema = yaml.safe_load(pkgutil.get_data("airbyte_cdk", "sources/declarative/declarative_component_schema.yaml"))
    found = {}
    for connector, files in json.load(sys.stdin).items():
        names, faults = components_faults(files["components"])
        has_components = files["components"] is not None
        try:
            faults += manifest_faults(files["manifest"], schema, names, has_components)
        except Exception as error:
            # One manifest keeps no other from being judged.
            faults.append(fault(f"it can't be judged: {error!r}", line=1))
        found[connector] = faults
    json.dump({"cdk": version("airbyte-cdk"), "found": found}, sys.stdout)


main()
