"""A bare UDP echo in C: no nameserver can be faster, so it is the ceiling that figures are read against."""

from pathlib import Path

from peers.server import Server, find_program


class Echo(Server):
    """Sends every question back as its answer."""

    name = "C echo"
    package = "gcc"

    def configure(self) -> None:
        source = Path(__file__).with_name("echo.c")
        self.order(find_program("gcc", "gcc libc6-dev"), "-O2", "-o", str(self.work / "echo"), str(source))

    def command(self) -> list[str]:
        return [str(self.work / "echo"), self.address, str(self.port)]

    def version(self) -> str:
        return "C echo (recvmmsg)"
