/** How a chart looks and what is drawn over its lines: uPlot's options for our columns, marks and levels. */
import uPlot from 'uplot'
import { formatClock, formatStamp } from '../format'
import type { Tone } from '../states'
import type { Level, Mark } from './marks'
import type { Cell, Curves } from './series'

export type LineColor = 'accent' | 'ok' | 'warn' | 'paused' | 'bad' | 'unknown'

export interface Line {
  label: string
  color: LineColor
  /** The series' name. */
  name: string
}

export const CHART_HEIGHT = 132
const TONE_COLORS: Record<Tone, string> = {
  ok: 'ok',
  busy: 'accent',
  idle: 'unknown',
  warn: 'warn',
  bad: 'bad',
  unknown: 'unknown',
  paused: 'paused',
}

export const css = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(`--ops-${name}`).trim()

/** Does a point stand for more than one second? Then its highest second differs from its mean. */
export const hasBand = (curves: Curves): boolean => curves.stepS > 1

/** uPlot's columns: times, then of each line its mean, and its highest above where points are coarse. */
export function columnsOf(curves: Curves, lines: Line[]): uPlot.AlignedData {
  const nothing = curves.times.map((): Cell => null)
  const rows = lines.flatMap(({ name }) => {
    const row = curves.rows[name]
    const avg = row?.avg ?? nothing
    return hasBand(curves) ? [avg, row?.max ?? nothing] : [avg]
  })
  return [curves.times, ...rows] as uPlot.AlignedData
}

/** Seconds are written only where the labels need them; a day begins with its date. */
export function timeLabels(times: number[], stepS: number): string[] {
  return times.map((at) => {
    const clock = formatClock(at * 1000)
    if (stepS >= 86_400 || (clock === '00:00:00' && stepS >= 3600)) return formatStamp(at * 1000).slice(5, 10)
    return stepS < 60 ? clock : clock.slice(0, 5)
  })
}

/** From zero to a little above the highest, at least to `top`. */
export function reachOf(highest: number | null | undefined, top: number): [number, number] {
  const most = highest ?? 0
  const reach = most > top ? most * 1.08 : top
  return [0, reach > 0 ? reach : 1]
}

function axis(extra: uPlot.Axis): uPlot.Axis {
  return {
    stroke: css('text-2'),
    font: '11px system-ui, sans-serif',
    grid: { stroke: css('line'), width: 1 },
    ticks: { show: false },
    ...extra,
  }
}

function seriesOf(lines: Line[], isBanded: boolean): uPlot.Series[] {
  return lines.flatMap(({ color, label }): uPlot.Series[] => {
    const fill = lines.length === 1 && !isBanded ? `${css(color)}1f` : undefined
    const mean: uPlot.Series = { label, stroke: css(color), width: 1.5, points: { show: false }, fill }
    const highest: uPlot.Series = { stroke: `${css(color)}59`, width: 1, points: { show: false } }
    return isBanded ? [mean, highest] : [mean]
  })
}

function bandsOf(lines: Line[]): uPlot.Band[] {
  return lines.map(({ color }, index) => ({
    series: [2 * index + 2, 2 * index + 1],
    fill: `${css(color)}33`,
  }))
}

export interface Settings {
  width: number
  group: string
  lines: Line[]
  isBanded: boolean
  top: number
  levels: Level[]
  format: (value: number | null) => string
  marks: () => Mark[]
  onCursor: (chart: uPlot) => void
  onSelect: (chart: uPlot) => void
}

/** The cross-hair is everybody's of the group, a zoom goes through the page. */
function cursorOf(group: string): uPlot.Cursor {
  const isShared = (type: string): boolean => type === 'mousemove' || type === 'mouseleave'
  return {
    sync: { key: group, setSeries: false, filters: { pub: isShared } },
    y: false,
    points: { size: 6 },
    drag: { x: true, y: false, setScale: false },
    bind: { dblclick: () => null as unknown as uPlot.Cursor.MouseListener },
  }
}

export function optionsOf(settings: Settings): uPlot.Options {
  const { width, group, lines, isBanded, top, levels, format, marks, onCursor, onSelect } = settings
  const least = Math.max(top, ...levels.map(({ value }) => value * 1.05))
  return {
    width,
    height: CHART_HEIGHT,
    padding: [8, 18, 0, 0], // room for half a label at the right end
    legend: { show: false },
    cursor: cursorOf(group),
    scales: {
      x: { time: true, auto: false, range: (_chart, min, max) => [min, max] },
      y: { range: (_chart, _min, max) => reachOf(max, least) },
    },
    axes: [
      axis({
        size: 22,
        space: 56,
        values: (_chart, times, _axis, _space, stepS) => timeLabels(times, stepS),
      }),
      axis({ size: 62, space: 34, values: (_chart, ticks) => ticks.map((tick) => format(tick)) }),
    ],
    series: [{}, ...seriesOf(lines, isBanded)],
    bands: isBanded ? bandsOf(lines) : [],
    hooks: {
      setCursor: [onCursor],
      setSelect: [onSelect],
      draw: [(chart) => drawLevels(chart, levels), (chart) => drawMarks(chart, marks())],
    },
  }
}

/** Draw with the pen as it was before; the canvas counts in device pixels. */
function withPen(chart: uPlot, draw: (pen: CanvasRenderingContext2D, scale: number) => void): void {
  const pen = chart.ctx
  pen.save()
  draw(pen, uPlot.pxRatio)
  pen.restore()
}

function drawMarks(chart: uPlot, marks: Mark[]): void {
  if (marks.length === 0) return
  withPen(chart, (pen, scale) => {
    const { top, height } = chart.bbox
    for (const { at, tone } of marks) {
      const x = Math.round(chart.valToPos(at, 'x', true))
      pen.strokeStyle = pen.fillStyle = css(TONE_COLORS[tone])
      pen.lineWidth = scale
      pen.setLineDash([3 * scale, 3 * scale])
      pen.beginPath()
      pen.moveTo(x, top)
      pen.lineTo(x, top + height)
      pen.stroke()
      pen.beginPath()
      pen.moveTo(x - 4 * scale, top - 5 * scale)
      pen.lineTo(x + 4 * scale, top - 5 * scale)
      pen.lineTo(x, top + 2 * scale)
      pen.fill()
    }
  })
}

function drawLevels(chart: uPlot, levels: Level[]): void {
  if (levels.length === 0) return
  withPen(chart, (pen, scale) => {
    const { left, width } = chart.bbox
    pen.font = `${11 * scale}px system-ui, sans-serif`
    pen.textAlign = 'right'
    pen.textBaseline = 'bottom' // on its line, not across it
    for (const { value, tone, label } of levels) {
      const y = Math.round(chart.valToPos(value, 'y', true))
      pen.strokeStyle = pen.fillStyle = css(TONE_COLORS[tone])
      pen.lineWidth = scale
      pen.setLineDash([6 * scale, 4 * scale])
      pen.beginPath()
      pen.moveTo(left, y)
      pen.lineTo(left + width, y)
      pen.stroke()
      pen.fillText(label, left + width - 4 * scale, y - 2 * scale)
    }
  })
}
