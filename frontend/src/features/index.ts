/** The features of the console, in the order of the rail. To remove one: its folder and its line. */
import type { Feature } from '@/shared/feature'
import { alerts } from './alerts'
import { audit } from './audit'
import { auth } from './auth'
import { backups } from './backups'
import { commands } from './commands'
import { instances } from './instances'
import { nodes } from './nodes'
import { operations } from './operations'
import { overview } from './overview'
import { packages } from './packages'
import { provisioning } from './provisioning'
import { schedules } from './schedules'
import { settings } from './settings'
import { systems } from './systems'
import { templates } from './templates'
import { terminal } from './terminal'

export const features: Feature[] = [
  overview,
  nodes,
  systems,
  instances,
  packages,
  alerts,
  terminal,
  provisioning,
  commands,
  operations,
  schedules,
  backups,
  templates,
  audit,
  settings,
  auth,
]
