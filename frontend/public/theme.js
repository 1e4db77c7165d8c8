/* Runs before the first paint, so that a chosen theme does not flash in the other one. */
;(function () {
  var root = document.documentElement
  var chosen = 'system'
  try {
    chosen = JSON.parse(localStorage.getItem('ops.theme') || '"system"')
  } catch {
    chosen = 'system'
  }
  var isDark = chosen === 'dark' || (chosen !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches)
  root.dataset.theme = isDark ? 'dark' : 'light'
  root.classList.toggle('dark', isDark)
})()
