"""taskiq with its ListQueueBroker: a list, at most once."""

from taskiq_redis import ListQueueBroker

from benchmarks.peers.base import URL
from benchmarks.peers.taskiq_common import Taskiq

peer = Taskiq(ListQueueBroker(URL), "benchmarks.peers.taskiq_list")
broker, scheduler = peer.broker, peer.scheduler
