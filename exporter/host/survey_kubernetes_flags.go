package host

import (
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// A kubeForm says how the value of a setting is read.
type kubeForm uint8

const (
	kubeText    kubeForm = iota
	kubeTruth            // a flag without a value is true
	kubeNumber           // whole
	kubeSeconds          // a duration, of which facts have whole seconds
	kubeList             // divided by commas; a flag that is repeated adds to it
)

// A kubeSetting is a setting of a program of Kubernetes, by a flag and perhaps by its configuration file.
type kubeSetting struct {
	field string // of the fact
	flag  string // without --; empty if no flag sets it
	path  string // in the configuration file, its keys joined by dots; empty if that does not
	form  kubeForm
	def   string // what holds where nothing sets it; of a list what flags replace

	legacy string // what holds instead of a kubelet without a configuration file; empty if that makes no difference
	zero   bool   // in the file, 0 and an empty text are the default
}

// A kubeFlags is a command line: the values of flags by their names, in order.
type kubeFlags struct {
	values map[string][]string
	errors []error
}

// kubeSwitches are flags without a value that are no settings of ours, but may stand in front of something that is none of theirs.
var kubeSwitches = []string{"help", "version", "logtostderr", "alsologtostderr", "one-output", "skip-headers", "skip-log-headers", "add-dir-header"}

// parseKubeFlags reads arguments as spf13/pflag does, with what Kubernetes adds to it: --name=value, --name value, --switch, an
// underscore for a hyphen, -v value. A flag --no-name is another flag, not the contrary of one.
//
// A flag that nothing is known of takes the next argument as its value unless that looks like a flag: programs of Kubernetes take no
// other arguments.
func parseKubeFlags(args []string, settings []kubeSetting) kubeFlags {
	f := kubeFlags{values: map[string][]string{}}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return f
		case len(arg) < 2 || arg[0] != '-':
			continue
		case arg[1] != '-':
			if arg == "-v" { // the only one that takes a value
				i++
			}
			continue
		}
		name, value, given := strings.Cut(arg[2:], "=")
		name = strings.ReplaceAll(name, "_", "-")
		if !given {
			value, i = f.next(name, args, i, settings)
		}
		f.values[name] = append(f.values[name], value)
	}
	return f
}

// next is the value of a flag that stands alone, and where the arguments go on from.
func (f *kubeFlags) next(name string, args []string, i int, settings []kubeSetting) (value string, at int) {
	known := slices.IndexFunc(settings, func(s kubeSetting) bool { return s.flag == name })
	more := i+1 < len(args)
	switch {
	case slices.Contains(kubeSwitches, name), known >= 0 && settings[known].form == kubeTruth:
		return "true", i
	case known >= 0 && !more:
		f.errors = append(f.errors, fmt.Errorf("flag --%s: want a value behind it", name))
		return "", i
	case known >= 0, more && !strings.HasPrefix(args[i+1], "-"):
		return args[i+1], i + 1
	}
	return "true", i
}

// parseGoFlags reads arguments as Go's own flag package does, which etcd uses: one hyphen is as good as two, and the first argument
// that is no flag ends them.
func parseGoFlags(args []string, settings []kubeSetting) kubeFlags {
	f := kubeFlags{values: map[string][]string{}}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if len(arg) < 2 || arg[0] != '-' || arg == "--" {
			return f
		}
		name, value, given := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		if !given {
			value, i = f.next(name, args, i, settings)
		}
		f.values[name] = append(f.values[name], value)
	}
	return f
}

// last is the last value of a flag.
func (f kubeFlags) last(name string) (string, bool) {
	all := f.values[name]
	if len(all) == 0 {
		return "", false
	}
	return all[len(all)-1], true
}

// text is the last value of a flag, empty if it is not given.
func (f kubeFlags) text(name string) string {
	value, _ := f.last(name)
	return value
}

// features are the feature gates that flags set: --feature-gates=A=true,B=false.
func (f kubeFlags) features(to map[string]bool) error {
	for _, text := range f.values["feature-gates"] {
		for part := range strings.SplitSeq(text, ",") {
			name, value, _ := strings.Cut(part, "=")
			if strings.TrimSpace(part) == "" {
				continue
			}
			on, err := strconv.ParseBool(strings.TrimSpace(value))
			if err != nil {
				return fmt.Errorf("flag --feature-gates: want NAME=true or NAME=false, got %.60q", part)
			}
			to[strings.TrimSpace(name)] = on
		}
	}
	return nil
}

// feature says whether a feature is on that is on by default, and is in its beta.
func feature(set map[string]bool, name string) bool {
	if on, ok := set[name]; ok {
		return on
	}
	if on, ok := set["AllBeta"]; ok {
		return on
	}
	return true
}

// value is what a flag says in the form of its setting, nil if it is not given.
func (f kubeFlags) value(s kubeSetting) (any, error) {
	all := f.values[s.flag]
	if s.flag == "" || len(all) == 0 {
		return nil, nil
	}
	if s.form == kubeList {
		return splitLists(s.flag, all)
	}
	value, err := parseKubeText(s.form, all[len(all)-1])
	if err != nil {
		return nil, fmt.Errorf("flag --%s=%.60s: %w", s.flag, all[len(all)-1], err)
	}
	return value, nil
}

// splitLists divides lists at commas, as CSV.
func splitLists(flag string, lists []string) (any, error) {
	all := []string{}
	for _, list := range lists {
		if list == "" {
			continue
		}
		items, err := csv.NewReader(strings.NewReader(list)).Read()
		if err != nil {
			return nil, fmt.Errorf("flag --%s: want a list divided by commas: %w", flag, err)
		}
		all = append(all, items...)
	}
	return all, nil
}

// parseKubeText reads what stands behind a flag.
func parseKubeText(form kubeForm, text string) (any, error) {
	switch form {
	case kubeTruth:
		truth, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("want true or false")
		}
		return truth, nil
	case kubeNumber:
		n, err := strconv.ParseInt(text, 0, 64)
		if err != nil {
			return nil, fmt.Errorf("want a whole number")
		}
		return n, nil
	case kubeSeconds:
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, fmt.Errorf("want a duration such as 1h30m")
		}
		return wholeSeconds(d), nil
	case kubeList:
		return splitLists("", []string{text})
	}
	return text, nil
}

// defaultValue is what holds where nothing sets it.
func (s kubeSetting) defaultValue(legacy bool) any {
	text := s.def
	if legacy && s.legacy != "" {
		text = s.legacy
	}
	value, err := parseKubeText(s.form, text)
	if err != nil {
		panic("default of " + s.field + ": " + err.Error()) // the tables are ours
	}
	return value
}

// configured is what the configuration file says, nil if nothing that counts.
func (s kubeSetting) configured(config *kubeValue) (any, error) {
	if s.path == "" {
		return nil, nil
	}
	v := config.get(strings.Split(s.path, ".")...)
	if v == nil {
		return nil, nil
	}
	value, err := v.as(s.form)
	if err != nil {
		return nil, fmt.Errorf("%w of %s", err, s.path)
	}
	if s.zero && (value == int64(0) || value == "") {
		return nil, nil
	}
	return value, nil
}

// setKube sets the fields of a fact by flags, over a configuration, over defaults. What cannot be read makes the fact fail.
func setKube(f event.Fact, settings []kubeSetting, flags kubeFlags, config *kubeValue, legacy bool) {
	fail := func(err error) {
		if err != nil && f.Err() == "" {
			f.Fail(err)
		}
	}
	for _, err := range flags.errors {
		fail(err)
	}
	for _, s := range settings {
		if s.field == "" {
			continue
		}
		value, err := flags.value(s)
		fail(err)
		if value == nil {
			value, err = s.configured(config)
			fail(err)
		}
		if value == nil && err == nil {
			value = s.defaultValue(legacy)
		}
		if value != nil {
			f.Set(s.field, value)
		}
	}
}
