"""On Windows, which has no `fcntl`, one line says so, for commands and for Python."""

import subprocess
import sys

import pytest

WINDOWS = "import sys; sys.modules['fcntl'] = None\n"
"""What `import fcntl` raises there it raises here, too."""
MESSAGE = "needs Linux or macOS (it locks files by fcntl, which Windows lacks); on Windows use WSL 2"


def on_windows(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WINDOWS + script], capture_output=True, text=True)


@pytest.mark.parametrize("words", ["run shapes-quick", "status .", "profile shapes-quick", "doctor"])
def test_a_command_says_it_in_one_line_with_status_2(words: str) -> None:
    done = on_windows(f"sys.argv = ['detnas', *{words.split()!r}]\nfrom detnas.cli.main import main\nmain()")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"detnas: {MESSAGE}\n")


@pytest.mark.parametrize("use", ["detnas.run('shapes-quick')", "detnas.Architecture", "import detnas.config"])
def test_python_raises_a_clear_error(use: str) -> None:
    script = f"""
import detnas
try:
    {use}
except detnas.UserError as error:
    print(error)
"""
    done = on_windows(script)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{MESSAGE}\n", "")
