/** From bare machines to nodes: data centres, machines, installations, approvals, images, profiles. */
import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import { useRouter, type RouteRecordRaw } from 'vue-router'
import type { Command, Feature } from '@/shared/feature'
import { useSession } from '@/stores/session'

const meta = { feature: 'provisioning' }

/** A tab whose list opens panels at addresses of their own. */
const tab = (name: string, component: () => Promise<object>): RouteRecordRaw => ({
  path: `${name}/:panel(.*)*`,
  name: `provisioning-${name}`,
  meta,
  component,
})

const PLACES = ['machines', 'unmatched', 'idcs', 'images', 'profiles', 'rules'] as const

export const provisioning: Feature = {
  name: 'provisioning',
  nav: { path: '/provisioning/tasks', icon: 'provisioning', key: 'goProvisioning' },
  routes: [
    { path: '/provisioning', redirect: '/provisioning/tasks' },
    {
      path: '/provisioning/tasks/:idc/:sn/approve',
      name: 'task-approve',
      meta,
      component: () => import('./ApprovePage.vue'),
    },
    {
      path: '/provisioning/tasks/:idc/:sn',
      name: 'task',
      meta,
      component: () => import('./TaskPage.vue'),
    },
    {
      path: '/provisioning/profiles/:profile',
      name: 'profile',
      meta,
      component: () => import('./ProfilePage.vue'),
    },
    {
      path: '/provisioning',
      meta,
      component: () => import('./ProvisioningPage.vue'),
      children: [
        tab('tasks', () => import('./TasksTab.vue')),
        tab('machines', () => import('./MachinesTab.vue')),
        tab('unmatched', () => import('./UnmatchedTab.vue')),
        tab('idcs', () => import('./IdcsTab.vue')),
        tab('images', () => import('./ImagesTab.vue')),
        tab('profiles', () => import('./ProfilesTab.vue')),
        tab('rules', () => import('./RulesTab.vue')),
      ],
    },
  ],
  useCommands: () => {
    const { t } = useI18n()
    const router = useRouter()
    const session = useSession()
    const go = (id: string, title: string, path: string): Command => ({
      id,
      title,
      group: 'actions',
      run: () => router.push(path),
    })
    return computed<Command[]>(() => [
      ...PLACES.map((name) =>
        go(`provisioning-${name}`, t(`provisioning.command.${name}`), `/provisioning/${name}`),
      ),
      go(
        'provisioning-approve',
        t('provisioning.command.waiting'),
        '/provisioning/tasks?status=pending_approval',
      ),
      ...(session.canOperate
        ? [
            go('task-new', t('provisioning.command.newTask'), '/provisioning/tasks/new'),
            go('task-bulk', t('provisioning.command.bulk'), '/provisioning/tasks/bulk'),
          ]
        : []),
    ])
  },
}
