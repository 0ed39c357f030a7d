// The console in a real browser, against a real Yagura: node e2e/run.mjs URL SCREENSHOTS [PAGE…]
// Every page at a desktop's and a phone's width, light and dark: what it must show, nothing on the console of the browser, no violation
// of the policy, no request to anybody else, nothing wider than the screen, text that can be read. Then keys, the explorer, and failures.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const [base, out, ...only] = process.argv.slice(2);
if (!base || !out) {
  console.error('usage: node e2e/run.mjs URL SCREENSHOTS [PAGE…]');
  process.exit(2);
}
mkdirSync(out, { recursive: true });

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const origin = new URL(base).origin;
const patience = Number(process.env.PATIENCE ?? 30) * 1000;
const sizes = { desktop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } };
const themes = ['light', 'dark'];

// What each page must show of the things that the test has done, as JSON in the environment; without, only that there is something.
const expected = JSON.parse(process.env.EXPECT ?? '{}');
const pages = [
  { name: 'overview', at: '', shows: [/Posture/, /The watch/, /Latest rule hits/] },
  { name: 'machine', at: 'machine', shows: [/CPU by mode/, /Processes/], canvases: 3 },
  { name: 'services', at: 'services', shows: [/Workloads/, /Who calls whom/] },
  { name: 'workload', at: `services?show=1&unit=${encodeURIComponent(process.env.UNIT ?? 'shop.service')}`, shows: [/Requests/, /Connections now/], canvases: 3 },
  { name: 'hits', at: 'hits', shows: [/hits?/], open: true },
  { name: 'hits-rule', at: `hits?${new URLSearchParams(process.env.RULE ? { rule: process.env.RULE } : { priority: 'Debug' })}`, shows: [/hits?/] },
  { name: 'fim', at: 'fim', shows: [/changes?/], open: true },
  { name: 'posture', at: 'posture', shows: [/of 100/, /fail/], open: true },
  { name: 'alerts', at: 'alerts', shows: [/firing/, /Alertmanagers/], open: true },
  { name: 'targets', at: 'targets', shows: [/up/] },
  { name: 'agent', at: 'agent', shows: [/Probes/, /Where else Yagura answers/, /\/metrics/], canvases: 2 },
  { name: 'explore', at: `explore?${new URLSearchParams({ expr: 'sum by (mode) (rate(node_cpu_seconds_total[1m]))' })}`, shows: [/Library/, /idle/], canvases: 1 },
  { name: 'explore-table', at: `explore?${new URLSearchParams({ expr: 'topk(10, yagura_series)', tab: 'table' })}`, shows: [/yagura_series/] },
  { name: 'explore-explain', at: `explore?${new URLSearchParams({ expr: 'topk(5, sum by (container, unit) (rate(yagura_syscalls_total{syscall!="futex"}[5m] offset 1m))) > 3', tab: 'explain' })}`, shows: [/Keeps the 5 largest series, for each|Keeps the 5 largest series/, /per second, on average of the window/] },
  { name: 'explore-library', at: `explore?${new URLSearchParams({ name: 'container_cpu_top' })}`, shows: [/container_cpu_top/, /how far to look back/i] },
].filter((p) => only.length === 0 || only.includes(p.name));

const failures = [];
let checks = 0;
function check(ok, what) {
  checks++;
  if (!ok) {
    failures.push(what);
    console.log(`FAIL ${what}`);
  }
}

// Runs in the page: text whose contrast with what is behind it is below 4.5, or 3 where it is large.
function unreadable() {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const parse = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return { r, g, b, a: a / 255 };
  };
  const over = (top, under) => ({ r: top.r * top.a + under.r * (1 - top.a), g: top.g * top.a + under.g * (1 - top.a), b: top.b * top.a + under.b * (1 - top.a), a: 1 });
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.a > 0) layers.push(color);
      if (color.a === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), { r: 255, g: 255, b: 255, a: 1 });
  };
  const light = ({ r, g, b }) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const found = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element || element.closest('svg, [hidden], :disabled') || element.getClientRects().length === 0) continue;
    const style = getComputedStyle(element);
    if (style.visibility !== 'visible' || element.closest('[style*="opacity"], .waiting')) continue;
    const under = behind(element);
    const [a, b] = [light(over(parse(style.color), under)), light(under)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize);
    if (ratio < (size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5)) found.add(`${element.tagName.toLowerCase()}.${element.className} "${walk.currentNode.data.trim().slice(0, 30)}" ${ratio.toFixed(2)}`);
  }
  return [...found];
}

// Runs in the page: controls and pictures without a name.
function nameless() {
  const named = (e) => e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent.trim() || e.getAttribute('title') || e.labels?.length || e.placeholder;
  return [...document.querySelectorAll('button, a[href], input, select, textarea, [role=img], dialog')].filter((e) => !named(e)).map((e) => e.outerHTML.slice(0, 80));
}

async function open(browser, size, theme) {
  const context = await browser.newContext({ viewport: sizes[size], colorScheme: theme, deviceScaleFactor: 1, reducedMotion: 'reduce' });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  const trouble = [];
  page.on('console', (m) => ['error', 'warning'].includes(m.type()) && trouble.push(`console: ${m.text()} ${m.location().url}`));
  page.on('pageerror', (e) => trouble.push(`error: ${e.message}`));
  page.on('request', (r) => !r.url().startsWith(origin) && !r.url().startsWith('data:') && trouble.push(`request to ${r.url()}`));
  page.on('response', (r) => r.status() >= 400 && trouble.push(`${r.status()} ${r.url()}`));
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (e) => window.violations.push(`${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`));
  });
  return { context, page, trouble };
}

/** settled waits until nothing of the page is still being read. */
async function settled(page) {
  await page.waitForSelector('main h1', { state: 'attached' });
  await page.waitForFunction(() => document.querySelectorAll('main .waiting').length === 0);
}

async function look(page, trouble, where, name) {
  await page.screenshot({ path: join(out, `${name}.png`), fullPage: true, animations: 'disabled' });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  check(wide <= 0, `${where}: ${wide} pixels wider than the screen`);
  for (const one of await page.evaluate(unreadable)) check(false, `${where}: hard to read: ${one}`);
  for (const one of await page.evaluate(nameless)) check(false, `${where}: has no name: ${one}`);
  for (const one of await page.evaluate(() => window.violations.splice(0))) check(false, `${where}: against the policy: ${one}`);
  for (const one of trouble.splice(0)) check(false, `${where}: ${one}`);
  checks += 4;
}

async function everyPage(browser, size, theme) {
  const { context, page, trouble } = await open(browser, size, theme);
  for (const p of pages) {
    const where = `${p.name} (${size}, ${theme})`;
    try {
      await page.goto(`${base}/#/${p.at}`);
      await settled(page);
      const text = () => page.evaluate(() => document.querySelector('main').innerText);
      for (const wanted of [...p.shows, ...(expected[p.name] ?? []).map((t) => t)]) {
        const has = (t) => (wanted instanceof RegExp ? wanted.test(t) : t.includes(wanted));
        const end = Date.now() + patience;
        while (!has(await text()) && Date.now() < end) await page.waitForTimeout(200);
        check(has(await text()), `${where}: does not show ${wanted}`);
      }
      if (p.canvases) await page.waitForFunction((n) => document.querySelectorAll('.plot canvas').length >= n, p.canvases);
      check((await page.locator('main .trouble').count()) === 0, `${where}: says that something failed: ${(await page.locator('main .trouble').allInnerTexts()).join(' | ')}`);
      await look(page, trouble, where, `${p.name}-${size}-${theme}`);
      if (p.open) {
        await page.locator('main details.row > summary').first().click();
        await page.waitForSelector('main details.row[open] .inside');
        await settled(page);
        await page.evaluate(() => window.scrollTo(0, 0));
        await look(page, trouble, `${where}, a row open`, `${p.name}-open-${size}-${theme}`);
      }
    } catch (error) {
      check(false, `${where}: ${error.message.split('\n')[0]}`);
      await page.screenshot({ path: join(out, `${p.name}-${size}-${theme}-failed.png`) }).catch(() => {});
    }
  }
  await context.close();
}

/** part runs one of the rest, in a page of its own. */
async function part(browser, name, size, run, tolerated = /^$/) {
  const { context, page, trouble } = await open(browser, size, 'light');
  try {
    await run(page);
  } catch (error) {
    check(false, `${name}: ${error.message.split('\n')[0]}`);
    await page.screenshot({ path: join(out, `${name}-failed.png`) }).catch(() => {});
  }
  for (const one of trouble) check(tolerated.test(one), `${name}: ${one}`);
  for (const one of await page.evaluate(() => window.violations).catch(() => [])) check(false, `${name}: against the policy: ${one}`);
  await context.close();
}

async function keys(page) {
  await page.goto(base);
  await settled(page);
  await page.keyboard.press('?');
  check(await page.locator('dialog[open]').isVisible(), 'keys: ? does not show the keys');
  await page.screenshot({ path: join(out, 'keys-desktop-light.png') });
  await page.keyboard.press('Escape');
  check((await page.locator('dialog[open]').count()) === 0, 'keys: Escape leaves the list open');
  const places = { m: 'Machine', s: 'Services', h: 'Hits', f: 'Files', p: 'Posture', a: 'Alerts', t: 'Targets', y: 'Agent', e: 'Explore', o: 'Overview' };
  for (const [key, title] of Object.entries(places)) {
    await page.keyboard.press('g');
    await page.keyboard.press(key);
    await page.waitForFunction((t) => document.querySelector('main h1')?.textContent === t, title).catch(() => {});
    check((await page.locator('main h1').textContent()) === title, `keys: g ${key} does not lead to ${title}`);
    if (key === 'e') await page.waitForSelector('.editor:not([hidden])');
  }
  await page.goto(`${base}/#/hits`);
  await settled(page);
  await page.keyboard.press('/');
  check(await page.evaluate(() => document.activeElement?.matches('main input[type=search]')), 'keys: / does not lead to the search');
  await page.keyboard.press('Escape');
  await page.keyboard.press('j');
  await page.keyboard.press('j');
  await page.keyboard.press('k');
  check(await page.evaluate(() => document.activeElement?.matches('main [data-row]')), 'keys: j does not lead to a row');
  await page.keyboard.press('Enter');
  await page.waitForSelector('main details.row[open] .inside');
  await page.goto('about:blank');
  await page.goto(base);
  await settled(page);
  await page.keyboard.press('Tab');
  check(await page.evaluate(() => document.activeElement?.className === 'skip'), 'keys: the first Tab does not lead to the way past the menu');
  const reached = new Set();
  for (let i = 0; i < 25; i++) {
    await page.keyboard.press('Tab');
    reached.add(await page.evaluate(() => document.activeElement?.getAttribute('href') ?? ''));
  }
  for (const place of ['#/services', '#/posture', '#/explore', 'metrics']) check(reached.has(place), `keys: Tab does not reach ${place}`);
}

async function menu(page) {
  await page.goto(base);
  await settled(page);
  await page.getByRole('button', { name: 'Menu' }).click();
  await page.screenshot({ path: join(out, 'menu-phone-light.png') });
  await page.getByRole('link', { name: 'Posture' }).first().click();
  await page.waitForFunction(() => location.hash.startsWith('#/posture'));
  check((await page.getByRole('link', { name: 'Explore' }).isVisible()) === false, 'menu: it stays open after a choice');
}

async function themeSwitch(page) {
  await page.goto(base);
  await settled(page);
  const paper = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const before = await paper();
  const turn = page.getByRole('button', { name: /^Theme/ });
  await turn.click();
  await turn.click();
  check((await paper()) !== before, 'theme: the switch to dark changes nothing');
  await page.reload();
  await settled(page);
  check((await paper()) !== before, 'theme: the choice is forgotten');
}

async function explorer(page) {
  await page.goto(`${base}/#/explore`);
  await page.waitForSelector('.editor:not([hidden])');
  await page.keyboard.press('/');
  await page.keyboard.type('node_loa');
  await page.waitForSelector('.cm-tooltip-autocomplete');
  const offered = await page.locator('.cm-tooltip-autocomplete li').allInnerTexts();
  check(offered.some((o) => o.includes('node_load1')), `explorer: completion offers ${offered.join(', ')}`);
  await page.screenshot({ path: join(out, 'explore-completion-desktop-light.png') });
  await page.keyboard.press('Escape');
  await page.keyboard.press('Control+a');
  await page.keyboard.type('rate(node_load1[5m])');
  await page.keyboard.press('Control+Enter');
  await page.waitForFunction(() => new URLSearchParams(location.hash.split('?')[1]).get('expr')?.startsWith('rate(node_load1[5m]'));
  if (process.env.LINT !== 'off') {
    await page.waitForSelector('.lint');
    check((await page.locator('.lint').first().innerText()).includes('gauge'), 'explorer: the linter does not mind rate() of a gauge');
    await page.screenshot({ path: join(out, 'explore-lint-desktop-light.png') });
  }
  await page.locator('.editor').click();
  await page.keyboard.press('Control+a');
  await page.keyboard.type('sum(');
  await page.waitForTimeout(100);
  await page.keyboard.press('Control+Enter');
  await page.waitForSelector('main .trouble');
  check(/parse error/.test(await page.locator('main .trouble').first().innerText()), 'explorer: an expression that cannot be read is not told');
  await page.screenshot({ path: join(out, 'explore-error-desktop-light.png') });
  await page.goto(`${base}/#/explore?${new URLSearchParams({ name: 'container_cpu_top', 'v.window': '10m' })}`);
  await page.waitForSelector('.variables');
  check((await page.locator('.editor .cm-content').innerText()).includes('[10m]'), 'explorer: a variable of the address is not in the expression');
  await page.getByLabel(/^window/).fill('nonsense');
  await page.keyboard.press('Enter');
  await page.waitForSelector('main .trouble');
  check(/want a number, or a duration/.test(await page.locator('main .trouble').first().innerText()), 'explorer: a value that cannot be is not told');
  await page.getByLabel('Find a question').fill('oom_kills');
  await page.locator('.library li button').first().click();
  await page.waitForFunction(() => !['', 'container_cpu_top'].includes(new URLSearchParams(location.hash.split('?')[1]).get('name') ?? ''));
  await page.goBack();
  check(/container_cpu_top/.test(page.url()), 'explorer: one cannot go back to what was asked before');
}

async function storeOff(page) {
  await page.route(/\/api\/v1\//, (route) => route.fulfill({ status: 404, contentType: 'text/plain', body: '404 page not found\n' }));
  await page.goto(base);
  await settled(page);
  check(/--store\.path/.test(await page.locator('main').innerText()), 'store off: the overview does not say what to do');
  check((await page.locator('main .brief li').count()) > 0, 'store off: hits are not shown, although they need no store');
  await page.screenshot({ path: join(out, 'store-off-desktop-light.png'), fullPage: true });
}

async function down(page) {
  await page.goto(`${base}/#/hits`);
  await settled(page);
  const rows = await page.locator('main details.row').count();
  await page.route(/\/api\//, (route) => route.abort());
  await page.waitForSelector('.offline');
  check((await page.locator('main details.row').count()) === rows, 'down: what was known is gone');
  await page.screenshot({ path: join(out, 'down-desktop-light.png') });
  await page.unroute(/\/api\//);
  await page.keyboard.press('r');
  await page.waitForSelector('.offline', { state: 'detached' });
}

async function firstData(browser) {
  const times = [];
  for (let i = 0; i < 3; i++) {
    const { context, page } = await open(browser, 'desktop', 'light');
    await page.goto(base, { waitUntil: 'commit' });
    await page.waitForFunction(() => /\d/.test(document.querySelector('.stat .value')?.textContent ?? ''), undefined, { polling: 20 });
    times.push(await page.evaluate(() => Math.round(performance.now())));
    await context.close();
  }
  console.log(`first data on the overview after ${times.join(', ')} ms (cold cache, loopback)`);
}

const browser = await chromium.launch({
  executablePath,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const wantedSizes = (process.env.SIZES ?? 'desktop,phone').split(',');
const wantedThemes = (process.env.THEMES ?? themes.join(',')).split(',');
await Promise.all(wantedSizes.map(async (size) => {
  for (const theme of wantedThemes) await everyPage(browser, size, theme);
}));
if (only.length === 0) {
  await part(browser, 'keys', 'desktop', keys);
  await part(browser, 'menu', 'phone', menu);
  await part(browser, 'theme', 'desktop', themeSwitch);
  await part(browser, 'explorer', 'desktop', explorer, /400/);
  await part(browser, 'store-off', 'desktop', storeOff, /404/);
  await part(browser, 'down', 'desktop', down, /ERR_FAILED/);
  await firstData(browser);
}
await browser.close();
console.log(`${checks} checks, ${failures.length} failed; pictures in ${out}`);
process.exit(failures.length > 0 ? 1 : 0);
