"""kill -9 of the worker at random moments: every service starts exactly as often as it was asked to."""

import asyncio
import os
import random
import signal

import pytest

from ops_system.model.instances import Desired
from tests.fakes.chaos import CHATTY, open_node
from tests.fakes.worker import eventually


class Story:
    """What was asked of a node so far, and how many starts of each service that makes."""

    def __init__(self, node, dice):
        self.node = node
        self.dice = dice
        self.wanted = {}

    def deploy(self, name, *args, **changes):
        spec = self.node.service(name, *args, **changes)
        self.wanted[spec.instance_id] = 1
        self.node.tell(spec)
        return spec

    def act(self, spec):
        """Ask for something new of a service."""
        newest = self.node.wishes[spec.instance_id]
        if newest.desired is Desired.STOPPED:
            self.node.tell(self.node.again(spec, Desired.RUNNING))
            self.wanted[spec.instance_id] += 1
        elif self.dice.random() < 0.5:
            self.node.tell(self.node.again(spec, Desired.STOPPED))
        else:
            self.node.tell(self.node.again(spec, is_restart=True))
            self.wanted[spec.instance_id] += 1

    def counts(self):
        return {instance_id: len(self.node.starts(self.node.wishes[instance_id])) for instance_id in self.wanted}

    async def check(self):
        """Wait until nothing is missing (a service needs a moment to write its line), then look that nothing is more."""
        await eventually(lambda: all(self.counts()[name] >= wanted for name, wanted in self.wanted.items()))
        assert self.counts() == self.wanted
        self.node.check_picture()


@pytest.mark.parametrize("rounds", [5, pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
async def test_a_worker_killed_at_random_moments_starts_nothing_twice_and_forgets_nothing(tmp_path, rounds):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    async with open_node(tmp_path) as node:
        node.config = {"log_rotate_max_size": "200KB", "log_rotate_max_backups": "2"}
        await node.start()
        story = Story(node, dice)
        steady, chatty = story.deploy("steady"), story.deploy("chatty", CHATTY)
        busy = [story.deploy(f"busy{number}") for number in range(3)]
        await node.settle()
        for number in range(rounds):
            for spec in dice.sample(busy, 2):
                story.act(spec)
            if number % 5 == 2:
                busy.append(story.deploy(f"late{number}"))
            await asyncio.sleep(dice.random() * 0.25)
            await node.kill()
            await node.start()
            await node.settle()
            await story.check()
        assert len(node.starts(steady)) == len(node.starts(chatty)) == 1


async def test_a_worker_that_is_stopped_and_continued_goes_on_where_it_was(tmp_path):
    async with open_node(tmp_path) as node:
        await node.start()
        story = Story(node, random.Random(1))
        services = [story.deploy(f"s{number}") for number in range(3)]
        await node.settle()
        for _ in range(3):
            for spec in services:
                story.act(spec)
            node.pause(signal.SIGSTOP)
            await asyncio.sleep(0.3)
            node.pause(signal.SIGCONT)
            await node.settle()
            await story.check()


async def test_what_happened_with_the_master_away_is_told_once_and_in_order(tmp_path):
    async with open_node(tmp_path) as node:
        await node.start()
        spec = node.service("web", restart={"policy": "always", "delay": "50ms", "max_restarts": 100})
        await node.wish(spec)
        port = node.master.port
        await node.master.stop()
        for count in range(1, 7):
            await eventually(lambda count=count: len(node.starts(spec)) == count)
            os.kill(node.starts(spec)[-1], signal.SIGKILL)
            if count == 3:  # its end is noted by the keeper and judged by the next worker
                await node.kill()
                await node.start(is_linked=False)
        await eventually(lambda: len(node.starts(spec)) == 7)
        await node.kill()
        node.master.port = port
        await node.master.start()
        await node.start()
        await node.settle()
        newest = node.master.snapshots[-1].last_event_seq
        await node.master.until(lambda: any(event.seq >= newest for event in node.master.events), 30)
        node.check_picture()
        told = {event.seq: event for event in node.master.events}
        ends = [told[seq] for seq in sorted(told) if told[seq].kind == "exit"]
        assert [end.reason.params["signal"] for end in ends] == ["SIGKILL"] * 6
        assert [end.at for end in ends] == sorted(end.at for end in ends)
        assert len(node.starts(spec)) == 7
