/* A page of which a part did not come (the network changed under it, a new version took its place) is loaded again. */
;(function () {
  var KEY = 'ops.loads'
  var MOST = 3
  var WITHIN_MS = 60000
  var AFTER_MS = 500
  var GIVEN_UP =
    'The console could not be loaded. Check the network, then load this page again. 控制台未能加载，请检查网络后刷新页面。'
  var isUnderWay = false

  function isEmpty() {
    var page = document.getElementById('app')
    return !(page && page.childElementCount)
  }

  function giveUp() {
    var page = document.getElementById('app') || document.body
    if (page && isEmpty()) page.textContent = GIVEN_UP
    return false
  }

  /** Load this page, or another one of the console, again; false when that was done too often lately. */
  window.opsLoadAgain = function (path) {
    if (isUnderWay) return true
    var now = Date.now()
    var times = []
    try {
      times = JSON.parse(sessionStorage.getItem(KEY) || '[]').filter(function (at) {
        return now - at < WITHIN_MS
      })
    } catch {
      times = []
    }
    if (times.length >= MOST) return giveUp()
    try {
      sessionStorage.setItem(KEY, JSON.stringify(times.concat(now)))
    } catch {
      return giveUp() // nothing can be counted here: better no page than one that loads for ever
    }
    isUnderWay = true
    setTimeout(function () {
      if (path) location.assign(path)
      else location.reload()
    }, AFTER_MS)
    return true
  }

  addEventListener(
    'error',
    function (event) {
      var part = event.target
      var isPart = part instanceof HTMLScriptElement || part instanceof HTMLLinkElement
      if (isPart && isEmpty()) window.opsLoadAgain()
    },
    true,
  )
})()
