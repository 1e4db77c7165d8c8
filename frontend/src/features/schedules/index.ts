/** Schedules: what runs by the clock, and what became of it. */
import type { Feature } from '@/shared/feature'

const page = (): Promise<object> => import('./SchedulesPage.vue')
const meta = { feature: 'schedules' }

export const schedules: Feature = {
  name: 'schedules',
  nav: { path: '/schedules', icon: 'schedules', key: 'goSchedules' },
  routes: [
    { path: '/schedules', name: 'schedules', meta, component: page },
    { path: '/schedules/:id', name: 'schedule', meta, component: page },
  ],
}
