package alertmanager

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/yagura-io/yagura/alerts"
)

// shipped is an alert of the packs, with labels and annotations as they are when it fires.
func shipped(t *testing.T, name string, labels map[string]string, summary, description string) alert {
	t.Helper()
	all := alerts.All()
	i := slices.IndexFunc(all, func(a alerts.Alert) bool { return a.Name == name })
	if i < 0 {
		t.Fatalf("no pack has an alert %s", name)
	}
	a := all[i]
	began := time.Date(2026, 11, 26, 3, 4, 5, 0, time.UTC)
	labels["alertname"], labels["severity"], labels["component"] = name, a.Severity, a.Component
	return alert{Labels: labels, Annotations: map[string]string{"summary": summary, "description": description, "runbook_url": a.Runbook},
		GeneratorURL: "http://db1:9248/graph?g0.expr=up&g0.tab=1", StartsAt: &began}
}

// wants reports texts that are not in another.
func wants(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s lacks %q:\n%s", what, part, text)
		}
	}
}

func TestMessagesSayWhatAndWhere(t *testing.T) {
	w := start(t, always, never)
	full := shipped(t, "NodeFilesystemFull", map[string]string{"instance": "db1", "job": "yagura", "mountpoint": "/data&<logs>", "team": ""},
		"db1: /data&<logs> is full", "Only 2.1% of /data&<logs> is free.")
	shell := shipped(t, "SecurityReverseShell", map[string]string{"instance": "web1", "namespace": "shop", "pod": "cart-1", "container": "cart", "unit": ""},
		"web1: a shell of cart & <b>co</b> talks to the network", "1 hit in the last 5 minutes.")
	w.send(t, full, shell)

	t.Run("webhook", func(t *testing.T) {
		hook, got := w.hook(t, "/pager", "firing")
		if got.Authorization != "Bearer of the pager" {
			t.Errorf("the token was %q, not what is in the file", got.Authorization)
		}
		if hook.Receiver != "pager" || hook.CommonLabels["alertname"] != "NodeFilesystemFull" || len(hook.Alerts) != 1 ||
			hook.Alerts[0].Annotations["runbook_url"] != full.Annotations["runbook_url"] || hook.Alerts[0].GeneratorURL != full.GeneratorURL {
			t.Errorf("the webhook was sent %+v", hook)
		}
	})
	t.Run("slack", func(t *testing.T) {
		a := w.slack(t, "#alerts", "[CRITICAL]").Attachments[0]
		if want := "[CRITICAL] NodeFilesystemFull: db1"; a.Title != want || a.Fallback != want || a.Color != "danger" || a.Footer != "Yagura, to pager" {
			t.Errorf("title %q, fallback %q, color %q, footer %q", a.Title, a.Fallback, a.Color, a.Footer)
		}
		if want := "http://alertmanager.example/#/alerts?receiver=pager"; a.TitleLink != want {
			t.Errorf("the title leads to %q, want %q", a.TitleLink, want)
		}
		wants(t, "the text", a.Text, "*db1: /data&amp;&lt;logs&gt; is full*\nOnly 2.1% of /data&amp;&lt;logs&gt; is free.\n",
			"<https://github.com/yagura-io/yagura/blob/main/alerts/runbooks/node.md#nodefilesystemfull|Runbook>",
			"<http://localhost:3000/d/yagura-node?from=now-3h&to=now&var-instance=db1|Dashboard>",
			"<http://db1:9248/#/alerts|Console>", "<http://db1:9248/graph?g0.expr=up&g0.tab=1|Query>", "`instance=db1, mountpoint=/data&amp;&lt;logs&gt;`")
	})
	t.Run("mail", func(t *testing.T) {
		m := w.mail(t, "security@example.org")
		if m.User != "yagura@example.org" || m.Password != "of the mail" || m.From != "yagura@example.org" {
			t.Errorf("user %q, password %q, from %q", m.User, m.Password, m.From)
		}
		if want := "[CRITICAL] SecurityReverseShell: web1 shop/cart-1 cart"; m.Subject != want {
			t.Errorf("subject %q, want %q", m.Subject, want)
		}
		const links = "from=now-3h&to=now&var-instance=web1"
		wants(t, "the text", m.Text, "web1: a shell of cart & <b>co</b> talks to the network\n1 hit in the last 5 minutes.\n", "FIRING since 2026-11-26 03:04:05 UTC\n",
			"container=cart, instance=web1, namespace=shop, pod=cart-1\n", "Runbook:   https://github.com/yagura-io/yagura/blob/main/alerts/runbooks/security.md#securityreverseshell\n",
			"Dashboard: http://localhost:3000/d/yagura-security?"+links+"&var-namespace=shop&var-pod=cart-1&var-container=cart\n", "Console:   http://db1:9248/#/alerts\n")
		wants(t, "the HTML", m.HTML, "web1: a shell of cart &amp; &lt;b&gt;co&lt;/b&gt; talks to the network", "background:#b42318", ">Runbook</a>", `href="http://db1:9248/#/alerts"`,
			`href="http://localhost:3000/d/yagura-security?from=now-3h&to=now&var-instance=web1&var-namespace=shop&var-pod=cart-1&var-container=cart"`)
		if strings.Contains(m.HTML, "<b>co") || strings.Contains(m.HTML, "ZgotmplZ") {
			t.Errorf("the HTML has what a label said as its own, or something that the template refused:\n%s", m.HTML)
		}
	})
	t.Run("resolved", func(t *testing.T) {
		ended := time.Now().Add(-time.Second)
		full.EndsAt, shell.EndsAt = &ended, &ended
		w.send(t, full, shell)
		if hook, _ := w.hook(t, "/pager", "resolved"); hook.Alerts[0].Status != "resolved" {
			t.Errorf("the webhook was sent %+v", hook)
		}
		a := w.slack(t, "#alerts", "[RESOLVED] NodeFilesystemFull: db1").Attachments[0]
		if a.Color != "good" || strings.Contains(a.Text, "Only 2.1%") {
			t.Errorf("color %q, text %s", a.Color, a.Text)
		}
		wants(t, "the text", a.Text, ":white_check_mark: ~db1: /data&amp;&lt;logs&gt; is full~")
	})
	w.nothingBroke(t)
}

func (w *world) nothingBroke(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, err := range w.broken {
		t.Error(err)
	}
	if strings.Contains(w.log.String(), "err=") {
		t.Errorf("Alertmanager has logged an error:\n%s", w.log.String())
	}
}

func TestEachReceiverGetsItsOwn(t *testing.T) {
	w := start(t, always, never)
	w.send(t, labelled("alertname=Watchdog", "severity=none"),
		labelled("alertname=A", "severity=warning", "component=cpu", "instance=one"),
		labelled("alertname=B", "severity=info", "component=cpu", "instance=one"),
		labelled("alertname=C", "severity=critical", "component=requests", "namespace=shop", "pod=a"),
		labelled("alertname=C", "severity=critical", "component=requests", "namespace=shop", "pod=b"),
		labelled("alertname=D", "severity=warning", "component=requests", "team=shop"),
		labelled("alertname=E", "severity=warning", "component=fim", "instance=one"),
		labelled("alertname=F", "severity=warning", "component=security", "instance=one", "container=x"),
		labelled("alertname=G", "severity=warning", "component=security", "instance=one", "container=x"))

	if _, got := w.hook(t, "/deadman", "firing"); got.Authorization != "Bearer of the deadman" {
		t.Errorf("the dead man's token was %q", got.Authorization)
	}
	w.slack(t, "#tickets", "[WARNING] A: one")
	if m := w.mail(t, "operations@example.org"); m.Subject != "[INFO] B: one" {
		t.Errorf("the digest is about %q", m.Subject)
	}
	if hook, _ := w.hook(t, "/shop", "firing"); len(hook.Alerts) != 2 || hook.GroupLabels["alertname"] != "C" {
		t.Errorf("two pods of one namespace are not told together: %+v", hook)
	}
	w.slack(t, "#shop", "[WARNING] D")
	w.slack(t, "#security", "[WARNING] E: one")
	a := w.slack(t, "#security", "[WARNING] Alerts: one x (2 alerts)").Attachments[0]
	if n := strings.Count(a.Text, "|Runbook>") + strings.Count(a.Text, "*s*"); n != 2 {
		t.Errorf("two signs in one workload, in one message:\n%s", a.Text)
	}
	w.nothingBroke(t)
}

func TestLongMessagesAreCut(t *testing.T) {
	w := start(t, always, never)
	var many []alert
	for _, n := range "abcdefghijkl" {
		many = append(many, labelled("alertname=A", "severity=critical", "instance=one", "device="+string(n)))
	}
	w.send(t, many...)
	a := w.slack(t, "#alerts", "[CRITICAL] A: one (12 alerts)").Attachments[0]
	if n := strings.Count(a.Text, "*s*"); n != 10 || !strings.Contains(a.Text, "_and more: 12 in all._ <http://alertmanager.example/#/alerts?receiver=pager|See them>") {
		t.Errorf("%d of 12 alerts, and:\n%s", n, a.Text)
	}
}

func TestNotEverythingIsToldAtNight(t *testing.T) {
	w := start(t, never, always) // it is night, and no business hours
	w.send(t, labelled("alertname=Cpu", "severity=warning", "component=cpu"),
		labelled("alertname=Slow", "severity=warning", "component=requests"),
		labelled("alertname=Full", "severity=critical", "component=filesystem"),
		labelled("alertname=Sign", "severity=warning", "component=security"))
	w.slack(t, "#alerts", "[CRITICAL] Full")
	w.slack(t, "#security", "[WARNING] Sign")
	eventually(t, "what waits for the morning is held", func() bool { return w.said("route is not within active time") })
	eventually(t, "what waits for the end of the night is held", func() bool { return w.said("route is within mute time") })
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.posts {
		var s slack
		if p.Path == "/slack" && json.Unmarshal(p.Body, &s) == nil && s.Channel == "#tickets" {
			t.Errorf("a ticket at night: %s", p.Body)
		}
	}
}

func TestWhatIsWorseInhibits(t *testing.T) {
	w := start(t, always, never)
	for _, test := range []struct {
		why            string
		source, target []string // without alertname and severity of their own
		want           bool
	}{
		{"critical over warning", []string{"alertname=A", "severity=critical", "instance=i", "pod=p"}, []string{"alertname=A", "severity=warning", "instance=i", "pod=p"}, true},
		{"critical over warning, of another pod", []string{"alertname=B", "severity=critical", "instance=i", "pod=p"}, []string{"alertname=B", "severity=warning", "instance=i", "pod=q"}, false},
		{"critical over warning, of another machine", []string{"alertname=C", "severity=critical", "instance=i"}, []string{"alertname=C", "severity=warning", "instance=j"}, false},
		{"warning over critical", []string{"alertname=D", "severity=warning", "instance=i"}, []string{"alertname=D", "severity=critical", "instance=i"}, false},
		{"a full file system over one that fills", []string{"alertname=NodeFilesystemFull", "severity=critical", "instance=i1", "mountpoint=/"}, []string{"alertname=NodeFilesystemFillsUp", "severity=warning", "instance=i1", "mountpoint=/"}, true},
		{"a full file system over another", []string{"alertname=NodeFilesystemFull", "severity=critical", "instance=i2", "mountpoint=/"}, []string{"alertname=NodeFilesystemAlmostFull", "severity=warning", "instance=i2", "mountpoint=/var"}, false},
		{"a fast burn over a slow one", []string{"alertname=SLOErrorBudgetBurn14x", "severity=critical", "slo=s1"}, []string{"alertname=SLOErrorBudgetBurn1x", "severity=warning", "slo=s1"}, true},
		{"a slow burn over a fast one", []string{"alertname=SLOErrorBudgetBurn3x", "severity=warning", "slo=s2"}, []string{"alertname=SLOErrorBudgetBurn6x", "severity=critical", "slo=s2"}, false},
		{"an agent that is down over its machine", []string{"alertname=YaguraDown", "severity=critical", "component=agent", "instance=i3"}, []string{"alertname=NodeLoadHigh", "severity=warning", "component=cpu", "instance=i3"}, true},
		{"a target that is down over its own", []string{"alertname=TargetDown", "severity=warning", "component=targets", "instance=i4"}, []string{"alertname=Theirs", "severity=info", "instance=i4"}, true},
		{"an agent that is down over an attack", []string{"alertname=YaguraDown", "severity=critical", "component=agent", "instance=i5"}, []string{"alertname=SecurityRuleHitError", "severity=warning", "component=security", "instance=i5"}, false},
		{"an agent that is down over a changed file", []string{"alertname=YaguraDown", "severity=critical", "component=agent", "instance=i6"}, []string{"alertname=FileChanged", "severity=warning", "component=fim", "instance=i6"}, false},
		{"an agent that is down over something critical", []string{"alertname=YaguraDown", "severity=critical", "component=agent", "instance=i7"}, []string{"alertname=NodeDiskErrors", "severity=critical", "component=disk", "instance=i7"}, false},
		{"an agent that is down over the watchdog", []string{"alertname=YaguraDown", "severity=critical", "component=agent", "instance=i8"}, []string{"alertname=Watchdog", "severity=none", "component=alerting", "instance=i8"}, false},
		{"a blind agent over its lesser complaints", []string{"alertname=SecurityNoRulesLoaded", "severity=critical", "component=agent", "instance=i9"}, []string{"alertname=SecurityRulesFewer", "severity=warning", "component=agent", "instance=i9"}, true},
		{"a blind agent over the machine's own", []string{"alertname=SecurityEventsSilent", "severity=critical", "component=agent", "instance=i10"}, []string{"alertname=NodeOOMKill", "severity=warning", "component=memory", "instance=i10"}, false},
		{"an incident over its signs", []string{"alertname=SecurityIncident", "severity=critical", "component=security", "instance=i11", "container=c"}, []string{"alertname=SecurityHitNewInWorkload", "severity=warning", "component=security", "instance=i11", "container=c"}, true},
		{"an incident over another workload's signs", []string{"alertname=SecurityIncident", "severity=critical", "component=security", "instance=i12", "container=c"}, []string{"alertname=SecurityHitNewInWorkload", "severity=warning", "component=security", "instance=i12", "container=d"}, false},
	} {
		source, target := labelled(test.source...), labelled(test.target...)
		w.send(t, source, target)
		key := target.Labels["alertname"] + " " + target.Labels["severity"]
		eventually(t, "Alertmanager has "+key, func() bool { _, ok := w.inhibited(t)[key]; return ok })
		if test.want {
			eventually(t, test.why+" inhibits", func() bool { return w.inhibited(t)[key] })
		} else if w.inhibited(t)[key] {
			t.Errorf("%s inhibits", test.why)
		}
		ended := time.Now().Add(-time.Second)
		source.EndsAt, target.EndsAt = &ended, &ended
		w.send(t, source, target)
		eventually(t, key+" is gone", func() bool { _, ok := w.inhibited(t)[key]; return !ok })
	}
}
