"""Stands before the real package in Ray's processes: jsonschema, which each of them imports, would compile that
package's grammar of internationalised addresses for 1.7 s, and no schema of Ray's asks for it."""

raise ImportError("left out, see the docstring")
