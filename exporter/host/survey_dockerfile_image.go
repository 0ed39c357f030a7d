package host

import (
	"strings"
	"time"
)

// An imageName is the name of an image taken apart.
type imageName struct{ registry, repository, tag, digest string }

func parseImage(name string) (i imageName) {
	name, i.digest, _ = strings.Cut(name, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name, i.tag = name[:colon], name[colon+1:]
	}
	i.registry, i.repository = "docker.io", name
	if first, rest, ok := strings.Cut(name, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		i.registry, i.repository = first, rest
	}
	i.repository = strings.TrimPrefix(i.repository, "library/")
	return i
}

// rootless says whether an image is known to name another user than root.
func (i imageName) rootless() bool {
	return strings.Contains(i.tag, "nonroot") || strings.Contains(i.tag, "rootless") || i.registry == "cgr.dev" ||
		strings.HasSuffix(i.repository, "-unprivileged") || strings.HasPrefix(i.repository, "bitnami/")
}

// environment is what is known of an image's environment that Dockerfiles name users by.
func (i imageName) environment() map[string]string {
	if i.registry == "mcr.microsoft.com" && strings.HasPrefix(i.repository, "dotnet/") {
		return map[string]string{"APP_UID": "1654"} // since .NET 8
	}
	return map[string]string{}
}

// compilerImages are images that are there to build programs in.
var compilerImages = []string{"golang", "rust", "gcc", "maven", "gradle", "buildpack-deps", "sbt", "haskell", "elixir-build"}

// Distributions' images by what the table of their lifetimes calls them, and the releases that tags name otherwise than by their number.
var (
	imageDistributions = map[string]string{"debian": "debian", "ubuntu": "ubuntu", "alpine": "alpine", "amazonlinux": "amzn"}
	imageReleases      = map[string][2]string{
		"jessie": {"debian", "8"}, "stretch": {"debian", "9"}, "buster": {"debian", "10"}, "bullseye": {"debian", "11"}, "bookworm": {"debian", "12"}, "trixie": {"debian", "13"},
		"trusty": {"ubuntu", "14.04"}, "xenial": {"ubuntu", "16.04"}, "bionic": {"ubuntu", "18.04"}, "focal": {"ubuntu", "20.04"}, "jammy": {"ubuntu", "22.04"}, "noble": {"ubuntu", "24.04"},
	}
)

// imageEnds are the days from which images of a line get no fixes any more, beside those of distributions. A line is a tag, or the
// beginning of one before a dot or a dash; an empty one is all that have no other.
var imageEnds = map[string]map[string]string{
	"debian": {"6": "2016-02-29", "squeeze": "2016-02-29", "7": "2018-05-31", "wheezy": "2018-05-31"},
	"ubuntu": {"12.04": "2017-04-28", "precise": "2017-04-28"},
	"alpine": {"2": "2017-11-01", "3.1": "2016-11-01", "3.2": "2017-05-01", "3.3": "2017-11-01", "3.4": "2018-05-01", "3.5": "2018-11-01", "3.6": "2019-05-01",
		"3.7": "2019-11-01", "3.8": "2020-05-01", "3.9": "2020-11-01", "3.10": "2021-05-01", "3.11": "2021-11-01", "3.12": "2022-05-01", "3.13": "2022-11-01",
		"3.14": "2023-05-01", "3.15": "2023-11-01"},
	"centos":      {"": "2024-06-30"},
	"openjdk":     {"": "2022-07-31"},
	"amazonlinux": {"1": "2023-12-31"},
	"node": {"8": "2019-12-31", "10": "2021-04-30", "12": "2022-04-30", "14": "2023-04-30", "16": "2023-09-11", "17": "2022-06-01", "18": "2025-04-30",
		"19": "2023-06-01", "20": "2026-04-30", "21": "2024-06-01", "22": "2027-04-30", "23": "2025-06-01"},
	"python": {"2": "2020-01-01", "3.4": "2019-03-18", "3.5": "2020-09-30", "3.6": "2021-12-23", "3.7": "2023-06-27", "3.8": "2024-10-07", "3.9": "2025-10-31",
		"3.10": "2026-10-31", "3.11": "2027-10-31"},
	"php":      {"5": "2018-12-31", "7": "2022-11-28", "8.0": "2023-11-26", "8.1": "2025-12-31", "8.2": "2026-12-31", "8.3": "2027-12-31"},
	"ruby":     {"2": "2023-03-31", "3.0": "2024-04-23", "3.1": "2025-03-26", "3.2": "2026-03-31"},
	"postgres": {"9": "2021-11-11", "10": "2022-11-10", "11": "2023-11-09", "12": "2024-11-14", "13": "2025-11-13", "14": "2026-11-12"},
	"mysql":    {"5": "2023-10-31", "8.0": "2026-04-30"},
}

// outdated says why an image gets no fixes any more, empty if that is not known of it: of itself, or of the distribution that its tag names.
func (i imageName) outdated(now time.Time) string {
	repository := strings.TrimPrefix(i.repository, "docker/library/")
	if i.registry != "docker.io" && i.registry != "public.ecr.aws" || strings.Contains(repository, "/") {
		return ""
	}
	over := func(what, until string) string {
		if end, err := time.Parse(time.DateOnly, until); err != nil || now.Before(end) {
			return ""
		}
		return what + " since " + until
	}
	line, length := "", -1
	for l := range imageEnds[repository] {
		if len(l) > length && (l == "" || i.tag == l || strings.HasPrefix(i.tag, l+".") || strings.HasPrefix(i.tag, l+"-")) {
			line, length = l, len(l)
		}
	}
	if why := over(strings.TrimSuffix(repository+" "+line, " "), imageEnds[repository][line]); length >= 0 && why != "" {
		return why
	}
	if id := imageDistributions[repository]; id != "" {
		version, _, _ := strings.Cut(i.tag, "-")
		if of := lifetimeOf(id, version, lifetimes); of.id != "" {
			return over(repository+" "+of.version, of.until)
		}
	}
	for part := range strings.SplitSeq(i.tag, "-") {
		release := imageReleases[part]
		if why := over(release[0]+" "+release[1], lifetimeOf(release[0], release[1], lifetimes).until); why != "" {
			return why
		}
	}
	return ""
}
