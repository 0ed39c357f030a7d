package fim_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/yagura-io/yagura/exporter"
	"github.com/yagura-io/yagura/exporter/fim"
)

// file is joined as the program joins all parts.
type file struct {
	FIM fim.Config `yaml:"fim"`
}

func (f file) Validate() error { return f.FIM.Validate() }

func read(t *testing.T, text string) (fim.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := exporter.ReadConfig(path, file{fim.DefaultConfig})
	return c.FIM, err
}

func TestConfigIsReadOverTheDefault(t *testing.T) {
	t.Parallel()
	got, err := read(t, `
fim:
  without: [web]
  watches:
    - name: app
      doc: Our application.
      paths: [/srv/app, "/srv/*/bin"]
      exclude: ["*.log"]
      recursive: false
      of: both
      kinds: [created, content]
      attributes: [content, mode]
      severity: error
      diff: true
      max_size: 10MiB
  scan: {interval: 24h, rate_files: 500, rate_bytes: 8MiB}
  maintenance:
    - {name: patch-day, days: [tue], from: 22:00, to: "04:00", timezone: Europe/Berlin, watches: [app, binaries]}
  actors:
    - {name: deploy, exe: ["/opt/deploy/bin/*"], users: [deploy, "1001"], watches: [app]}
  store: /srv/fim.db
`)
	if err != nil {
		t.Fatal(err)
	}
	want := fim.DefaultConfig
	want.Without = []string{"web"}
	want.Watches = []fim.WatchConfig{{Name: "app", Doc: "Our application.", Paths: []string{"/srv/app", "/srv/*/bin"}, Exclude: []string{"*.log"},
		Recursive: new(bool), Of: "both", Kinds: []string{"created", "content"}, Attributes: []string{"content", "mode"}, Severity: "error", Diff: true, MaxSize: 10 << 20}}
	want.Scan.Interval, want.Scan.RateFiles, want.Scan.RateBytes = 24*time.Hour, 500, 8<<20
	want.Maintenance = []fim.MaintenanceConfig{{Name: "patch-day", Days: []string{"tue"}, From: "22:00", To: "04:00", Timezone: "Europe/Berlin", Watches: []string{"app", "binaries"}}}
	want.Actors = []fim.ActorConfig{{Name: "deploy", Exe: []string{"/opt/deploy/bin/*"}, Users: []string{"deploy", "1001"}, Watches: []string{"app"}}}
	want.Store = "/srv/fim.db"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestConfigPointsAtWhatIsWrong(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"fim:\n  watch: []\n":                                        `c.yml:2:3: unknown field "watch"`,
		"fim:\n  watches:\n    - {name: a, path: [/a]}\n":            `c.yml:3:17: unknown field "path"`,
		"fim:\n  watches:\n    - name: a\n      pahts:\n        -\n": `c.yml:4:7: unknown field "pahts"`,
		"fim:\n  scan:\n    rate_files: many\n":                      "c.yml:3:17: want int, not string",
		"fim:\n  maintenance:\n    - {name: a, day: mon}\n":          `c.yml:3:17: unknown field "day"`,
		"fim:\n  actors:\n    - {name: a, program: /a}\n":            `c.yml:3:17: unknown field "program"`,
		"fim:\n  watches:\n    - {name: a, paths: [a]}\n":            `c.yml: fim.watches.a.paths: "a": want a path that begins with /, or a glob that begins with / or **/`,
	} {
		_, err := read(t, text)
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}
