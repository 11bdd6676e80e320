"""The solver Bitwuzla as a program: SMT-LIB commands in, answers out. PyPI has it as a Python module only.

Its parser miscounts levels when it is called more than once (0.9.1), so ``push`` and ``pop`` go to the solver directly.
"""

import ctypes
import sys

import bitwuzla


def main() -> None:
    if "--help" in sys.argv:
        print("--lang")  # yosys-smtbmc looks for this option
        return
    flush = ctypes.CDLL(None).fflush
    parser = bitwuzla.Parser(bitwuzla.TermManager(), bitwuzla.Options())
    text = ""
    for line in sys.stdin:
        text += line.split(";")[0]
        command = text.strip()
        if not command or command.count("(") > command.count(")"):
            continue
        text = ""
        if command == "(exit)":
            return
        if command == "(push 1)":
            parser.bitwuzla().push(1)
        elif command == "(pop 1)":
            parser.bitwuzla().pop(1)
        else:
            parser.parse(command, False, False)
            flush(None)


if __name__ == "__main__":
    main()
