/** The few line icons of the console: 20 × 20, stroked with the text colour. */
export const ICONS = {
  overview: 'M3 3h6v6H3zM11 3h6v4h-6zM11 9h6v8h-6zM3 11h6v6H3z',
  nodes: 'M3 4h14v5H3zM3 11h14v5H3zM6 6.5h.01M6 13.5h.01M9 6.5h5M9 13.5h5',
  systems: 'M10 2.5l7.5 4-7.5 4-7.5-4zM2.5 10l7.5 4 7.5-4M2.5 13.5l7.5 4 7.5-4',
  packages: 'M10 2.5l7 3.7v7.6l-7 3.7-7-3.7V6.2zM3 6.2l7 3.8 7-3.8M10 10v7.5',
  terminal: 'M2.5 3.5h15v13h-15zM5.5 7.5l3 2.5-3 2.5M10 13h4.5',
  commands: 'M3 5l4 3.5L3 12M9 12.5h8M3 16.5h14M10 4h7M11.5 8.2h5.5',
  operations: 'M3 5h2l1 1 2-3M10 5h7M3 11h2l1 1 2-3M10 11h7M3 16.5h5M10 16.5h7',
  bell: 'M10 2.5a5 5 0 0 0-5 5c0 4-1.8 5.5-1.8 5.5h13.6S15 11.5 15 7.5a5 5 0 0 0-5-5zM8.3 16a1.8 1.8 0 0 0 3.4 0',
  audit: 'M5 2.5h7.5L16 6v11.5H5zM12 2.5V6.5h4M7.5 10h6M7.5 13.5h6',
  settings:
    'M10 7.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6zM10 2v2.6M10 15.4V18M2 10h2.6M15.4 10H18M4.3 4.3l1.9 1.9M13.8 13.8l1.9 1.9M4.3 15.7l1.9-1.9M13.8 6.2l1.9-1.9',
  search: 'M9 3.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11zM13.2 13.2l3.8 3.8',
  sun: 'M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM10 2v1.6M10 16.4V18M2 10h1.6M16.4 10H18M4.3 4.3l1.2 1.2M14.5 14.5l1.2 1.2M4.3 15.7l1.2-1.2M14.5 5.5l1.2-1.2',
  moon: 'M16.5 12.2A7 7 0 0 1 7.8 3.5a7 7 0 1 0 8.7 8.7z',
  system: 'M3 4h14v9.5H3zM7.5 17h5M10 13.5V17',
  language:
    'M2.5 5h9M7 3v2M9.5 5c-.8 3.2-3 5.8-6.5 7.2M4.5 7.5c1 2 2.8 3.6 5 4.5M10.5 17l3.5-8 3.5 8M11.8 14.2h4.4',
  user: 'M10 3.2a3.3 3.3 0 1 0 0 6.6 3.3 3.3 0 0 0 0-6.6zM3.5 17c.6-3.2 3.2-5 6.5-5s5.9 1.8 6.5 5',
  rail: 'M3 4h14v12H3zM8 4v12',
} as const

export type IconName = keyof typeof ICONS
