"""taskiq with its RedisStreamBroker: a stream with a consumer group, at least once."""

from taskiq_redis import RedisStreamBroker

from benchmarks.peers.base import URL
from benchmarks.peers.taskiq_common import Taskiq

peer = Taskiq(RedisStreamBroker(URL), "benchmarks.peers.taskiq_stream")
broker, scheduler = peer.broker, peer.scheduler
