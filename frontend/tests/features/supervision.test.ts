import { describe, expect, it } from 'vitest'
import type { Crash, Instance, InstanceEvent, Node, Process } from '@/api/types'
import { secondsUntil, spanOf } from '@/features/instances/again'
import { crashText, limitsOf } from '@/features/instances/crashText'
import { bootOf, isLostAtBoot } from '@/features/nodes/bootService'
import { portNumbers, probeTarget, spellPorts } from '@/features/nodes/ports'
import { adoptionOf, draftOf, wishOf, wrongHow, wrongWhat } from '@/features/nodes/takeoverDraft'
import { searchProcesses } from '@/features/nodes/tree'
import { spellCommand } from '@/shared/commandLine'
import { formatBrief } from '@/shared/format'
import { signalOfCode } from '@/shared/ends'
import { actsFor, cautionsOf } from '@/shared/instances/rules'

const port = (number: number, address = '0.0.0.0', protocol = 'tcp'): Process['ports'][number] =>
  ({ port: number, address, protocol }) as Process['ports'][number]
const nginx = {
  pid: 41,
  ppid: 1,
  name: 'nginx: master',
  cmdline: ['nginx:', 'master', 'process'],
  user: 'root',
  uid: 0,
  exe: '/usr/sbin/nginx',
  cwd: '/',
  unit: 'nginx.service',
  cgroup: '/system.slice/nginx.service',
  ports: [port(80), port(80, '::'), port(443, '10.0.0.5'), port(53, '127.0.0.1', 'udp')],
} as unknown as Process

describe('restarts of late', () => {
  const restart = (at: string): InstanceEvent => ({ at, reason: { code: 'backoff' } }) as InstanceEvent
  const events = [
    restart('2026-03-01T10:00:00Z'),
    restart('2026-03-01T10:02:00Z'),
    { at: '2026-03-01T10:02:30Z', reason: null } as InstanceEvent,
    restart('2026-03-01T10:03:00Z'),
  ]
  const now = Date.parse('2026-03-01T10:04:00Z')
  it('span from the first of those that count', () => {
    expect(spanOf(events, 2, now)).toBe(120)
    expect(spanOf(events, 4, now)).toBeNull()
    expect(spanOf(events, 0, now)).toBeNull()
  })
  it('count down to the next try, never below nothing', () => {
    expect(secondsUntil('2026-03-01T10:04:08Z', now)).toBe(8)
    expect(secondsUntil('2026-03-01T10:03:00Z', now)).toBe(0)
    expect(secondsUntil(null, now)).toBeNull()
  })
})

describe('ends', () => {
  it('a shell adds 128 to the signal', () => {
    expect(signalOfCode(137)).toBe('SIGKILL')
    expect(signalOfCode(7)).toBeUndefined()
  })
})

describe('a crash capsule', () => {
  const crash = {
    limits: { memory: '64MB', cpu_percent: null, nofile: 1024 },
    lines: [
      { stream: 'stdout', text: 'a' },
      { stream: 'stderr', text: '\u001b[31mb\u001b[0m' },
    ],
  } as unknown as Crash
  it('is copied without colours', () => {
    expect(crashText([['How', 'exit code 7']], crash)).toBe('How: exit code 7\n\nstdout | a\nstderr | b')
  })
  it('tells milliseconds from seconds', () =>
    expect([0.0421, 59.6].map(formatBrief)).toEqual(['42 ms', '1 min']))
  it('names the limits that were set', () => expect(limitsOf(crash)).toEqual(['memory 64MB', 'nofile 1024']))
})

describe('what others started', () => {
  const adopted = {
    state: 'running',
    desired: 'running',
    origin: 'adopted',
    watched_only: true,
    takeover: { restart_command: [] },
  } as unknown as Instance
  it('is not restarted where nothing could start it', () => {
    expect(actsFor(adopted)).toEqual(['stop', 'kill', 'destroy'])
    const able = { ...adopted, takeover: { restart_command: ['r'] } } as unknown as Instance
    expect(actsFor(able)).toContain('restart')
  })
  it('is asked about in words of its own', () => {
    expect(cautionsOf('stop', [adopted])).toEqual(['stop'])
    expect(cautionsOf('destroy', [adopted])).toEqual(['destroy'])
    expect(cautionsOf('stop', [{ ...adopted, origin: 'managed', watched_only: false }])).toEqual([])
  })
})

describe('processes', () => {
  it('show each port once, with its address where it is not everywhere', () =>
    expect(spellPorts(nginx)).toBe('80 10.0.0.5:443 127.0.0.1:53/udp'))
  it('show bare numbers where room is short', () => expect(portNumbers(nginx)).toBe('53 80 443'))
  it('are probed where they listen', () => {
    expect(probeTarget(nginx)).toBe('127.0.0.1:80')
    expect(probeTarget({ ...nginx, ports: [port(6379, '::1')] })).toBe('[::1]:6379')
    expect(probeTarget({ ...nginx, ports: [] })).toBe('')
  })
  it('are found by unit and port', () => {
    expect(searchProcesses([nginx], 'nginx.service')).toHaveLength(1)
    expect(searchProcesses([nginx], ':443')).toHaveLength(1)
    expect(searchProcesses([nginx], ':44399')).toHaveLength(0)
  })
})

describe('a takeover', () => {
  const filled = { ...draftOf(nginx), systemName: 'edge' }
  it('begins with what the process shows', () => {
    expect(filled).toMatchObject({
      strategy: 'pid',
      pid: '41',
      uid: '0',
      probe: 'tcp',
      name: 'nginx--master',
    })
    expect(wrongWhat(filled)).toEqual([])
    expect(wrongHow(filled)).toEqual([])
  })
  it('of nothing begins with a PID file that is still to be named', () =>
    expect(wrongWhat(draftOf(undefined))).toEqual(['pidFile']))
  it('refuses what the server would refuse', () => {
    expect(wrongWhat({ ...filled, pid: '0', executable: 'nginx', uid: '-1' })).toEqual([
      'pid',
      'executable',
      'uid',
    ])
    expect(
      wrongHow({
        ...filled,
        name: 'a b',
        systemName: ' ',
        logs: 'x',
        ports: 'http=0',
        probe: 'http',
        target: '',
      }),
    ).toEqual(['target', 'logs', 'ports', 'name', 'systemName'])
  })
  it('sends only what its strategy uses', () => {
    expect(wishOf({ ...filled, strategy: 'match' })).not.toHaveProperty('pid')
    expect(wishOf(filled)).not.toHaveProperty('process_name')
    expect(wishOf({ ...filled, uid: '' }).uid).toBeNull()
  })
  it('sends logs, ports and probe', () => {
    const text = { ...filled, logs: 'Access Log=/var/log/a.log\n', ports: 'http = 80' }
    expect(adoptionOf(text, 'n', 's')).toMatchObject({
      node_id: 'n',
      system_id: 's',
      log_paths: { 'Access Log': '/var/log/a.log' },
      ports: { http: 80 },
      health: { type: 'tcp', target: '127.0.0.1:80' },
    })
  })
})

describe('commands', () => {
  it('are spelled so that they can be typed again', () =>
    expect(spellCommand(['/bin/sh', '-c', "echo 'a b'"])).toBe(`/bin/sh -c 'echo '\\''a b'\\'''`))
})

describe('boot services', () => {
  const node = (boot_service: unknown): Node => ({ fingerprint: { boot_service } }) as unknown as Node
  it('want an install where they are not, a start where they wait, nothing where they run', () => {
    const absent = bootOf(node({ kind: 'systemd', state: 'absent', unit: '', path: '' }))
    expect(absent.command).toBe('ops-worker -autostart 1')
    expect(isLostAtBoot(absent)).toBe(true)
    const enabled = bootOf(
      node({ kind: 'systemd', state: 'enabled', unit: 'ops-worker.service', path: '/x' }),
    )
    expect(enabled.command).toBe('systemctl start ops-worker.service')
    expect(isLostAtBoot(enabled)).toBe(false)
    expect(bootOf(node({ kind: 'systemd', state: 'active', unit: 'u', path: '' })).command).toBe('')
    expect(bootOf(node({ kind: '', state: 'absent', unit: '', path: '' })).state).toBe('none')
    expect(bootOf(node(null)).state).toBe('unsaid')
  })
})
