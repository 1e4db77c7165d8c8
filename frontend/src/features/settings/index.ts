/** Oneself, and what administrators keep: users, tokens, publishers, channels, sessions, the state of security. */
import type { RouteRecordRaw } from 'vue-router'
import type { Feature } from '@/shared/feature'

const meta = { feature: 'settings' }

/** A tab whose list opens a panel at an address of its own. */
const tab = (path: string, component: () => Promise<object>): RouteRecordRaw[] => [
  { path, name: `settings-${path}`, meta, component },
  { path: `${path}/:id`, name: `settings-${path}-one`, meta, component },
]

export const settings: Feature = {
  name: 'settings',
  nav: { path: '/settings', icon: 'settings', key: 'goSettings' },
  routes: [
    {
      path: '/settings',
      meta,
      component: () => import('./SettingsPage.vue'),
      redirect: '/settings/profile',
      children: [
        { path: 'profile', name: 'settings-profile', meta, component: () => import('./ProfileTab.vue') },
        { path: 'security', name: 'settings-security', meta, component: () => import('./SecurityTab.vue') },
        { path: 'sessions', name: 'settings-sessions', meta, component: () => import('./SessionsTab.vue') },
        ...tab('users', () => import('./UsersTab.vue')),
        ...tab('tokens', () => import('./TokensTab.vue')),
        ...tab('join-tokens', () => import('./JoinTokensTab.vue')),
        ...tab('channels', () => import('./ChannelsTab.vue')),
        ...tab('publishers', () => import('./PublishersTab.vue')),
      ],
    },
  ],
}
