"""NSD by NLnet Labs: reads everything, compiles it in memory, answers from one child process."""

from peers.server import Server, find_program, first_line


class Nsd(Server):
    """NSD with one server process, as shipped: NS records and their addresses stand beside every answer."""

    name = "NSD"
    package = "nsd"
    minimal_responses = False

    def configure(self) -> None:
        program_settings = {
            "ip-address": f"{self.address}@{self.port}",
            "server-count": "1",
            "username": '""',
            "chroot": '""',
            "database": '""',
            "zonesdir": f'"{self.zones}"',
            "pidfile": f'"{self.work}/nsd.pid"',
            "xfrdfile": f'"{self.work}/xfrd.state"',
            "xfrdir": f'"{self.work}"',
            "zonelistfile": f'"{self.work}/zone.list"',
            "logfile": f'"{self.work}/nsd.log"',
            "verbosity": "0",
            "ipv4-edns-size": str(self.payload),
            "ipv6-edns-size": str(self.payload),
            "rrl-ratelimit": "0",
            "rrl-whitelist-ratelimit": "0",
            "minimal-responses": "yes" if self.minimal_responses else "no",
            "zonefiles-check": "no",
            "zonefiles-write": "0",
        }
        lines = ["server:", *(f"  {key}: {value}" for key, value in program_settings.items())]
        lines += ["remote-control:", "  control-enable: yes", f"  control-interface: {self.work}/control"]
        for file in self.files:
            lines += ["zone:", f"  name: {file.name}", f'  zonefile: "{file.path}"']
        (self.work / "nsd.conf").write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [find_program("nsd", self.package), "-d", "-c", str(self.work / "nsd.conf")]

    def version(self) -> str:
        return first_line(find_program("nsd", self.package), "-v").replace("NSD version", "NSD")

    def reload(self, zone: str) -> None:
        self.order(find_program("nsd-control", self.package), "-c", str(self.work / "nsd.conf"), "reload", zone)


class NsdMinimal(Nsd):
    """NSD told to leave out authority and additional records."""

    name = "NSD minimal"
    minimal_responses = True

    def version(self) -> str:
        return super().version() + " minimal"
