"""Puts the services together: the one place that knows all of them.

Today that is the nameserver; the relay, the monitor and the console will stand beside it here.
"""

from mx10.config import Config
from mx10.logs import configure
from mx10.nameserver.stewardship import plan
from mx10.nameserver.supervisor import Supervisor


def serve(config: Config) -> None:
    """Run every service that the configuration switches on, until SIGTERM or SIGINT.

    Raises:
        mx10.nameserver.supervisor.StartError: a service cannot start.
    """
    configure(config.log.level, config.log.format)
    Supervisor(config.nameserver, config.zones, plan(config)).run()
