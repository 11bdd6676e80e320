"""Fixtures of several test files."""

import pytest

from hwgen.cli import main


@pytest.fixture
def hwgen(capsys):
    """Runs the command in this process: exit code, standard output, standard error."""

    def run(*args):
        with pytest.raises(SystemExit) as exit_info:
            main([str(a) for a in args])
        captured = capsys.readouterr()
        return exit_info.value.code or 0, captured.out, captured.err

    return run
