/** The nouns of the server by their short names. Times are RFC 3339 UTC; units stand in the names. */
import type { components } from './schema'

type Schemas = components['schemas']

export interface Page<T> {
  items: T[]
  total: number
}

export type Reason = Schemas['Reason']
export type Me = Schemas['Me']
export type Caller = Schemas['Caller']
export type Role = Schemas['Role']
export type Permission = Schemas['Permission']
export type User = Schemas['UserView']
export type Session = Schemas['SessionView']
export type ApiToken = Schemas['TokenView']
export type NewApiToken = Schemas['NewToken']
export type JoinToken = Schemas['JoinTokenView']
export type TotpStatus = Schemas['TotpStatus']
export type TotpEnrolment = Schemas['TotpEnrolment']
export type PublisherKey = Schemas['PublisherKey']
export type Channel = Schemas['Channel']
export type ChannelKind = Schemas['ChannelKind']
export type EventKind = Schemas['EventKind']
export type NewChannel = Schemas['NewChannel']
export type ChannelPatch = Schemas['ChannelPatch']
export type NewEmailSettings = Schemas['NewEmailSettings']
export type Delivery = Schemas['Delivery']
export type SecurityView = Schemas['SecurityView']
export type Version = Schemas['Version']
export type AuditRow = Omit<Schemas['AuditRow'], 'details'> & { details: Record<string, unknown> }
export type Verdict = Schemas['Verdict']

export type Node = Schemas['Node']
export type NodeStatus = Schemas['NodeStatus']
export type NodeEvent = Schemas['NodeEvent']
export type Process = Schemas['ProcessInfo']
export type BootService = Schemas['BootService']
export type TakeoverWish = Schemas['TakeoverWish']
export type NewAdoption = Schemas['NewAdoption']
export type TakeoverPreview = Schemas['Preview']
export type NewJoinToken = Schemas['NewJoinToken']

export type Manifest = Schemas['Manifest']
export type Package = Schemas['Package']
export type PackagePatch = Schemas['PackagePatch']
export type PackageUsage = Schemas['PackageUsage']
export type PackageUser = Schemas['PackageUser']
export type PackageDiff = Schemas['PackageDiff']
export type PartialUpload = Schemas['UploadView']
export type RetentionPolicy = Schemas['RetentionPolicy']
export type RetentionPreview = Schemas['RetentionPreview']
export type RetentionView = Schemas['RetentionView']

export type SystemDiff = Schemas['SystemDiff']
export type SystemPatch = Schemas['SystemPatch']
export type ConfigFormat = Schemas['Format']
export type ConfigTemplate = Schemas['ConfigTemplate']
export type NewTemplate = Schemas['NewTemplate']
export type TemplateVersion = Schemas['TemplateVersion']
export type TemplatePreview = Schemas['TemplatePreview']
export type ImpactPlan = Schemas['ImpactPlan']
export type Impact = Schemas['Impact']
export type Variable = Schemas['Variable']
export type Given = Schemas['Given']
export type LayeredValue = Schemas['LayeredValue']

export type Backup = Schemas['Backup']
export type BackupPage = Schemas['BackupPage']
export type BackupSettings = Schemas['BackupSettings']
export type BackupSettingsChange = Schemas['BackupSettingsChange']
export type NewBackup = Schemas['NewBackup']
export type Restored = Schemas['Restored']
export type Schedule = Omit<Schemas['Schedule'], 'params'> & { params: Record<string, unknown> }
export type ScheduleBody = Omit<Schemas['ScheduleBody'], 'params'> & { params: Record<string, unknown> }
export type ScheduleRun = Schemas['ScheduleRun']

export type RolloutStrategy = Schemas['Strategy']
export type RolloutGate = Schemas['Gate']
export type RolloutPlan = Schemas['Plan']
export type RolloutPlanItem = Schemas['PlanItem']
export type ModuleRollout = Schemas['ModuleRollout']

export type System = Schemas['System']
export type Module = Schemas['Module']
/** What the module form fills; the rest of a module stays as it is. */
export type ModuleDraft = Pick<
  Module,
  | 'name'
  | 'package'
  | 'version'
  | 'start_order'
  | 'depends_on'
  | 'replicas'
  | 'placement'
  | 'args'
  | 'env'
  | 'ports'
  | 'health'
  | 'restart'
  | 'config_mounts'
> & {
  /** A value is set, null takes one away, a name that is absent keeps its value. */
  env_secrets?: Record<string, string | null>
}

export type ConfigMount = Schemas['ConfigMount']
export type HealthOverride = Schemas['HealthOverride']
export type RestartOverride = Schemas['RestartOverride']

export type Instance = Schemas['Instance']
export type InstanceEvent = Schemas['TimelineEvent']
export type Command = Schemas['Command']
export type ManyCommand = Schemas['ManyCommand']
export type CommandRun = Schemas['CommandRun']
export type CommandRunDetails = Schemas['CommandRunDetails']
export type CommandResult = Schemas['CommandResult']
export type SavedCommand = Schemas['SavedCommand']
export type NewSavedCommand = Schemas['NewSavedCommand']
export type TerminalSession = Schemas['TerminalSession']
export type TerminalShare = Schemas['TerminalShare']
export type TerminalSettings = Schemas['TerminalSettings']
export type Recording = Schemas['Recording']
export type Crash = Schemas['Crash']
export type Reloaded = Schemas['Reloaded']
export type LogFile = Schemas['LogFile']
export type LogLines = Schemas['LogLines']
/** A line of a log; one that is followed carries no offset. */
export type LogLine = Omit<Schemas['LogLine'], 'offset'> & { offset?: number }

export type Operation = Schemas['Operation']
export type OperationTarget = Schemas['OperationTarget']
export type OperationLine = Schemas['OperationLine']

/** `[time in Unix seconds, average, maximum]`; a gap is an absent point. */
export type Point = [number, number, number]
export type Series = Record<string, Point[]>
export type Metrics = Schemas['Metrics']

export type InstanceAction = 'start' | 'stop' | 'restart' | 'kill'
export type SystemAction = Schemas['SystemAction']

export type Severity = Schemas['Severity']
export type ConditionKind = Schemas['ConditionKind']
export type NewAlertRule = Schemas['NewRule']
export type AlertRule = Schemas['Rule']
export type Alert = Schemas['Alert']
export type AlertDetails = Schemas['AlertDetails']
export type AlertTransition = Schemas['Transition']
export type NewSilence = Schemas['NewSilence']
export type Silence = Schemas['Silence']
export type Backtest = Schemas['Backtest']
export type BacktestSubject = Schemas['BacktestSubject']
