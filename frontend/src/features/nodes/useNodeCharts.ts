/** The charts of one node: what every machine tells, then one for each of its devices. */
import { computed, type ComputedRef } from 'vue'
import { useI18n } from 'vue-i18n'
import type { Line, LineColor } from '@/shared/charts/drawing'
import type { LiveSeries } from '@/shared/charts/useSeries'
import { formatPercent, formatRate } from '@/shared/format'
import { devicesOf, type Devices } from './devices'

export interface Chart {
  id: string
  title: string
  format: (value: number | null) => string
  top: number
  lines: Line[]
}

const COLORS: LineColor[] = ['accent', 'ok', 'warn', 'paused', 'bad', 'unknown']
/** More lines than colours would be read wrongly. */
const MOST_LINES = COLORS.length

const plain = (value: number | null): string => (value === null ? '–' : value.toFixed(2))
const whole = (value: number | null): string => (value === null ? '–' : String(Math.round(value)))
const rareRate = (value: number | null): string => (value === null ? '–' : `${value.toFixed(1)}/s`)
const celsius = (value: number | null): string => (value === null ? '–' : `${value.toFixed(1)} °C`)
const PERCENT = { format: formatPercent, top: 100 }
const RATE = { format: formatRate, top: 1000 }

const line = (label: string, color: LineColor, name: string): Line => ({ label, color, name })
const coloured = (labels: string[], nameOf: (label: string) => string): Line[] =>
  labels.slice(0, MOST_LINES).map((label, index) => line(label, COLORS[index] ?? 'unknown', nameOf(label)))

type Words = ReturnType<typeof useI18n>['t']

function machineCharts(t: Words): Chart[] {
  const used = t('metric.used')
  return [
    { id: 'cpu', title: t('metric.cpu'), ...PERCENT, lines: [line(used, 'accent', 'cpu_percent')] },
    {
      id: 'mem',
      title: t('metric.mem'),
      ...PERCENT,
      lines: [line(used, 'accent', 'mem_percent'), line(t('metric.swap'), 'warn', 'swap_percent')],
    },
    {
      id: 'load',
      title: t('metric.load'),
      format: plain,
      top: 1,
      lines: coloured(['1 min', '5 min', '15 min'], (label) => `load${label.split(' ')[0] ?? ''}`),
    },
    { id: 'net', title: t('metric.network'), ...RATE, lines: traffic(t, '') },
    { id: 'io', title: t('metric.diskIo'), ...RATE, lines: transfer(t, '') },
    {
      id: 'processes',
      title: t('metric.processesTitle'),
      format: whole,
      top: 10,
      lines: [line(t('metric.running'), 'accent', 'processes')],
    },
    {
      id: 'pressure',
      title: t('metric.pressure'),
      ...PERCENT,
      top: 20,
      lines: [
        line(t('metric.cpu'), 'accent', 'pressure:cpu:percent'),
        line(t('metric.mem'), 'warn', 'pressure:memory:percent'),
        line(t('metric.io'), 'ok', 'pressure:io:percent'),
      ],
    },
    {
      id: 'files',
      title: t('metric.files'),
      format: whole,
      top: 10,
      lines: [line(t('metric.count'), 'accent', 'file_descriptors')],
    },
  ]
}

const traffic = (t: Words, device: string): Line[] => [
  line(t('metric.rx'), 'ok', device ? `net:${device}:rx_bytes_per_s` : 'net_rx_bytes_per_s'),
  line(t('metric.tx'), 'accent', device ? `net:${device}:tx_bytes_per_s` : 'net_tx_bytes_per_s'),
]
const transfer = (t: Words, device: string): Line[] => [
  line(t('metric.read'), 'ok', device ? `diskio:${device}:read_bytes_per_s` : 'disk_read_bytes_per_s'),
  line(t('metric.write'), 'accent', device ? `diskio:${device}:write_bytes_per_s` : 'disk_write_bytes_per_s'),
]

/** Received and sent of each interface, as far as colours go. */
const failures = (nics: string[]): Line[] => {
  const both = nics.flatMap((nic) => [`${nic} ↓`, `${nic} ↑`])
  const nameOf = (label: string): string => {
    const [nic, way] = [label.slice(0, -2), label.slice(-1)]
    return `net:${nic}:${way === '↓' ? 'rx' : 'tx'}_errors_per_s`
  }
  return coloured(both, nameOf)
}

function deviceCharts(t: Words, { mounts, disks, nics, sensors }: Devices): Chart[] {
  const filled = coloured(mounts, (mount) => `disk:${mount}:used_percent`)
  const warm = coloured(sensors, (sensor) => `temp:${sensor}:celsius`)
  return [
    ...(filled.length > 0 ? [{ id: 'mounts', title: t('metric.mounts'), ...PERCENT, lines: filled }] : []),
    ...nics.map((nic) => ({ id: `net-${nic}`, title: nic, ...RATE, lines: traffic(t, nic) })),
    ...(nics.length > 0
      ? [{ id: 'errors', title: t('metric.errors'), format: rareRate, top: 1, lines: failures(nics) }]
      : []),
    ...(disks.length > 0
      ? [
          {
            id: 'busy',
            title: t('metric.diskBusy'),
            ...PERCENT,
            lines: coloured(disks, (disk) => `diskio:${disk}:busy_percent`),
          },
        ]
      : []),
    ...disks.map((disk) => ({ id: `io-${disk}`, title: disk, ...RATE, lines: transfer(t, disk) })),
    ...(warm.length > 0
      ? [{ id: 'temp', title: t('metric.temperature'), format: celsius, top: 50, lines: warm }]
      : []),
  ]
}

export interface NodeCharts {
  devices: ComputedRef<Devices>
  machine: ComputedRef<Chart[]>
  parts: ComputedRef<Chart[]>
}

export function useNodeCharts({ curves, view }: LiveSeries): NodeCharts {
  const { t } = useI18n()
  /** Asked each second, changes when a device comes. */
  const names = computed(() => (view.value, Object.keys(curves.value.rows).join('\n')))
  const devices = computed(() => devicesOf(names.value.split('\n')))
  return {
    devices,
    machine: computed(() => machineCharts(t)),
    parts: computed(() => deviceCharts(t, devices.value)),
  }
}
