"""A simulated Messages API that validates requests, replays scenarios and injects faults."""

from localmodel.faults import Fault
from localmodel.model import Model, Request
from localmodel.scenario import Scenario, ScenarioError
from localmodel.server import Server, serve

__all__ = ["Fault", "Model", "Request", "Scenario", "ScenarioError", "Server", "serve"]
