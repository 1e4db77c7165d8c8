/** A node's processes as a tree, or as the flat list of those that match. Pure. */
import type { Process } from '@/api/types'

export interface TreeRow {
  process: Process
  depth: number
}

/** Children under their parent, in pid order; a process whose parent is not listed is a root. */
export function treeOf(processes: Process[]): TreeRow[] {
  const known = new Set(processes.map(({ pid }) => pid))
  const children = new Map<number, Process[]>()
  for (const process of [...processes].sort((a, b) => a.pid - b.pid)) {
    const parent = known.has(process.ppid) && process.ppid !== process.pid ? process.ppid : -1
    children.set(parent, [...(children.get(parent) ?? []), process])
  }
  const rows: TreeRow[] = []
  const waiting = (children.get(-1) ?? []).map((process) => ({ process, depth: 0 })).reverse()
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const { process, depth } = next
    rows.push({ process, depth })
    for (const child of [...(children.get(process.pid) ?? [])].reverse())
      waiting.push({ process: child, depth: depth + 1 })
  }
  return rows
}

/** Those whose pid, name, user, unit, control group, ports or command line contain `text`, without the tree. */
export function searchProcesses(processes: Process[], text: string): TreeRow[] {
  const wanted = text.toLowerCase()
  return processes
    .filter(({ pid, user, name, cmdline, unit, cgroup, ports }) =>
      [String(pid), user, name, unit, cgroup, ...ports.map(({ port }) => `:${port}`), ...cmdline].some(
        (part) => part.toLowerCase().includes(wanted),
      ),
    )
    .map((process) => ({ process, depth: 0 }))
}
