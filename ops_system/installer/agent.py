"""The life of an agent: report, keep the lease, ask what to do, do it, say how it ended.

    report ──> lease thread ──> getNextOperation ─┬─ wait, report_only ──> ask again
       ^                                          ├─ install ──> steps ──> installComplete ──> restart
       │ session or lease lost                    ├─ rescue ──> a shell here, a worker for the console
       └──────────────────────────────────────────┴─ reboot_local, power_off ──> the end of this process
After an installation that failed the region decides: wait for a person, or start from the disk. What was begun once
under a fence is never begun again by itself (P3).
"""

import contextlib
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ops_system import __version__
from ops_system.installer.boxes import KEY_BYTES, BootKey
from ops_system.installer.guard import RENEWALS_A_LEASE, Guard, Halt
from ops_system.installer.hands import Hands
from ops_system.installer.region import Region
from ops_system.installer.reporter import INTERVAL_S, Reporter
from ops_system.installer.rescue import Rescue
from ops_system.installer.steps import carry_out, wish_of_config
from ops_system.installer.works import Work
from ops_system.model.errors import Conflict, OpsError, Unauthenticated, Unavailable
from ops_system.protocol.agent import (
    LEASE_TTL_S,
    LONG_POLL_S,
    DeviceCall,
    Done,
    HardwareConfig,
    InstallCompleteCall,
    InstallConfig,
    LeaseAnswer,
    LeaseCall,
    NextOperation,
    Report,
    ReportAnswer,
)

_log = logging.getLogger(__name__)
EXIT_RESTART, EXIT_POWER_OFF = 0, 10
_AWAY_RETRY_S, _REFUSED_RETRY_S = 1.0, 5.0
_REPORT_AGAIN_S = 60.0  # while it waits: a task may have been made meanwhile
_END_PATIENCE_S = 120.0  # for saying how an installation ended
_BOOT_CARD = re.compile(r"\bBOOTIF=01-((?:[0-9a-f]{2}-){5}[0-9a-f]{2})\b")
_INSTALLERS = frozenset({"kickstart", "preseed", "autoinstall"})


class _TaskMac(msgspec.Struct, frozen=True):
    """What is read of a task."""

    mac: str = ""


class Agent:
    """One boot of one machine. `run` returns the exit code: 0 restart, 10 power off."""

    def __init__(
        self,
        region: Region,
        hands: Hands,
        scratch: Path,
        *,
        guard: Guard | None = None,
        sleep: Callable[[float], None] = time.sleep,
        report_interval_s: float = INTERVAL_S,
    ) -> None:
        self._region, self._hands, self._scratch, self._sleep = region, hands, scratch, sleep
        self._guard = guard or Guard()
        self._interval_s = report_interval_s
        self._key = BootKey(os.urandom(KEY_BYTES))
        self._boot_id = os.urandom(16).hex()
        self._found = hands.inventory()
        self._ttl_s = LEASE_TTL_S
        self._needs_report = threading.Event()
        self._ended = threading.Event()
        self._reported_at_s = 0.0
        self._tried: set[tuple[str, int]] = set()

    def run(self) -> int:
        """Live until the machine is to restart (0) or to be switched off (10)."""
        if self._hands.is_simulated:
            self._hands.take_mac(self._mac_at_boot())
        self._report()
        if self._hands.is_simulated and self._hands.take_mac(self._mac_of_task()):
            self._report()
        lease = threading.Thread(target=self._keep_lease, name="lease", daemon=True)
        lease.start()
        try:
            while (code := self._turn()) is None:
                pass
            return code
        finally:
            self._ended.set()
            lease.join()

    def _turn(self) -> int | None:
        """Ask once what to do, and do it; the exit code when that ends this boot."""
        if self._needs_report.is_set() or self._guard.now_s() - self._reported_at_s > _REPORT_AGAIN_S:
            self._report()
        answer = self._next()
        if answer is None:
            return None
        match answer.operation:
            case "install":
                return self._install()
            case "rescue":
                Rescue(self._region, self._found.sn, self._key, self._scratch).run(answer, self._next)
            case "reboot_local":
                return EXIT_RESTART
            case "power_off":
                return EXIT_POWER_OFF
            case "wait" | "report_only":
                self._sleep(answer.data.retry_after_s)
        return None

    # --- who is here --------------------------------------------------------------------------------------------------
    def _report(self) -> None:
        """Report until somebody listens; another agent for this machine is waited for (P5)."""
        self._found = self._hands.inventory()
        report = Report(
            self._found.sn,
            self._found.mac,
            self._found.uuid,
            self._found.hardware,
            boot_id=self._boot_id,
            boot_public_key=self._key.public_text(),
            agent_version=__version__,
        )
        while True:
            asked_at_s = self._guard.now_s()
            try:
                answer = self._region.persist(lambda: self._region.call("/api/v1/report", report, ReportAnswer))
            except OpsError as refusal:
                _log.warning("the report was refused: %s", refusal.message)
                waited = refusal.details.get("retry_after_s")
                self._sleep(float(waited) if isinstance(waited, int | float) else _REFUSED_RETRY_S)
                continue
            break
        self._region.token, self._ttl_s = answer.session_token, answer.lease_ttl_s
        self._region.learn(answer.regions)
        self._guard.renew(asked_at_s, answer.lease_ttl_s, answer.fence)
        self._reported_at_s = asked_at_s
        self._needs_report.clear()
        _log.info("reported as %s%s", self._found.sn, "" if answer.is_known else "; no task knows this machine")

    def _mac_at_boot(self) -> str:
        """Boot as the firmware would, by serial number: return the card that stands on the kernel command line.

        Empty for a machine without a task. What is approved for the first report then holds for all that follow.
        """
        path = f"/boot/none.ipxe?serial={self._found.sn}"
        try:
            found = _BOOT_CARD.search(self._region.persist(lambda: self._region.read(path)))
        except OpsError as refusal:
            _log.warning("no boot script: %s", refusal.message)
            return ""
        return found[1].replace("-", ":") if found else ""

    def _mac_of_task(self) -> str:
        """Return the MAC of a task that was made since the boot; empty without a task."""
        try:
            return self._region.call(f"/api/v1/task/{self._found.sn}", None, _TaskMac).mac
        except OpsError:
            return ""

    def _keep_lease(self) -> None:
        """Renew the lease in time, until this boot ends. What `Reporter` renews meanwhile is not asked again."""
        pause_s = self._guard.due_in_s()
        while not self._ended.wait(pause_s):
            if (pause_s := self._guard.due_in_s()) <= 0:
                pause_s = self._renew_lease()

    def _renew_lease(self) -> float:
        """Ask for the lease; return in how many seconds to look again."""
        asked_at_s, third_s = self._guard.now_s(), self._ttl_s / RENEWALS_A_LEASE
        try:
            answer = self._region.call(
                "/api/v1/lease", LeaseCall(self._found.sn), LeaseAnswer, timeout_s=self._patience_s()
            )
        except Unavailable as problem:
            _log.warning("the lease was not renewed: %s", problem.message)
            return min(_AWAY_RETRY_S, third_s)
        except OpsError as refusal:
            self._guard.lose(str(refusal.details.get("reason") or "lease_refused"), refusal.message)
            self._needs_report.set()
            return third_s
        self._guard.renew(asked_at_s, answer.ttl_s, answer.fence, is_cancel_asked=answer.is_cancel_asked)
        self._region.learn(answer.regions)
        return self._guard.due_in_s()

    def _patience_s(self) -> float:
        """Return how long one address is waited for: the lease must outlive the way to the next one, and back."""
        return self._ttl_s / (4 if len(self._region.addresses) > 1 else 2)

    def _next(self) -> NextOperation | None:
        """Ask what to do; None when the region is away or the session is no more."""
        try:
            return self._region.call(
                "/api/v1/device/getNextOperation", DeviceCall(self._found.sn), NextOperation, timeout_s=LONG_POLL_S + 15
            )
        except Unavailable as problem:
            _log.warning("%s", problem.message)
            self._sleep(_AWAY_RETRY_S)
        except (Unauthenticated, Conflict) as refusal:
            _log.warning("%s; reporting again", refusal.message)
            self._needs_report.set()
            self._sleep(_AWAY_RETRY_S)
        except OpsError as refusal:
            _log.warning("%s", refusal.message)
            self._sleep(_REFUSED_RETRY_S)
        return None

    # --- the work -----------------------------------------------------------------------------------------------------
    def _install(self) -> int | None:
        """Carry out an installation; the exit code when the machine is to restart."""
        try:
            config, hardware = self._ask_configs()
        except OpsError as refusal:
            _log.warning("no configuration: %s", refusal.message)
            self._sleep(_REFUSED_RETRY_S)
            return None
        if (config.task_id, config.fence) in self._tried:
            words = "this agent began this installation before and was stopped in it"
            self._say_end(InstallCompleteCall(self._found.sn, "needs_operator", words, "interrupted", config.fence))
            self._sleep(_REFUSED_RETRY_S)
            return None
        self._tried.add((config.task_id, config.fence))
        self._guard.begin(config.fence)
        self._scratch.mkdir(parents=True, exist_ok=True)
        with Reporter(
            self._region, self._guard, self._found.sn, config.task_id, config.fence, interval_s=self._interval_s
        ) as reporter:
            work = Work(
                self._hands, self._guard, self._region, reporter, config, wish_of_config(config, hardware), self._found,
                self._key, self._scratch,
            )  # fmt: skip
            try:
                carry_out(work)
            except Halt as halt:
                reporter.line(f"!! {halt.code}: {halt.message}")
                self._release(work)
                reporter.flush()
                self._say_end(
                    InstallCompleteCall(self._found.sn, halt.status, halt.message[:500], halt.code, config.fence)
                )
                self._needs_report.set()
                return None
        return self._hand_over(config, work)

    def _ask_configs(self) -> tuple[InstallConfig, HardwareConfig]:
        call = DeviceCall(self._found.sn)
        region = self._region
        config = region.persist(lambda: region.call("/api/v1/device/getOSInstallConfig", call, InstallConfig))
        return config, region.persist(lambda: region.call("/api/v1/device/getHardwareConfig", call, HardwareConfig))

    def _hand_over(self, config: InstallConfig, work: Work) -> int | None:
        """Say that it is done, and restart; or start the installer that was loaded, which will say so itself."""
        if config.install_method in _INSTALLERS and not self._start_installer(work):
            return None
        is_taken = self._say_end(InstallCompleteCall(self._found.sn, "completed", "", "", config.fence))
        shutil.rmtree(self._scratch, ignore_errors=True)
        if not is_taken:
            return None
        self._hands.start_again()
        return EXIT_RESTART

    def _start_installer(self, work: Work) -> bool:
        """Start it: only a played machine comes back from there, and says in its installer's place that all is done.

        A kernel that does not start is said to have failed: nothing was written.
        """
        try:
            self._hands.start_kernel(work.carried)
        except Halt as halt:
            call = InstallCompleteCall(self._found.sn, "failed", halt.message[:500], halt.code, work.config.fence)
            self._say_end(call)
            self._needs_report.set()
            return False
        return True

    def _say_end(self, call: InstallCompleteCall) -> bool:
        """Say how it ended; whether that was taken. The boot gate flips with it: without an answer nothing restarts."""
        until_s = self._guard.now_s() + _END_PATIENCE_S

        def give_up() -> None:
            if call.status != "completed" and self._guard.now_s() > until_s:
                raise Unavailable("nobody takes how the installation ended")

        try:
            self._region.persist(
                lambda: self._region.call("/api/v1/device/installComplete", call, Done), before_retry=give_up
            )
        except OpsError as refusal:
            _log.warning("%s was not taken: %s", call.status, refusal.message)
            return False
        return True

    def _release(self, work: Work) -> None:
        """Unmount what a failed step left mounted."""
        with contextlib.suppress(Halt, OSError):
            self._hands.release(work.reporter.line)
