package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/yagura-io/yagura/rules/event"
)

// dockerFacts are the facts of a Dockerfile, by their subjects without the file's name.
func dockerFacts(text string, ignore ...string) map[string]event.Fact {
	all := map[string]event.Fact{}
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	judgeDockerfile("Dockerfile", text, ignore, now, func(f event.Fact) {
		all[strings.TrimPrefix(strings.TrimPrefix(f.Subject, "Dockerfile"), ":")+"/"+strings.TrimPrefix(f.Kind.Name, "dockerfile_")] = f
	})
	return all
}

// wantValues compares some of a fact's values.
func wantValues(t *testing.T, what string, f event.Fact, want map[string]any) {
	t.Helper()
	for name, value := range want {
		if n, ok := value.(int); ok {
			value = int64(n)
		}
		if got := f.Values[name]; fmt.Sprint(got) != fmt.Sprint(value) {
			t.Errorf("%s: %s is %v, want %v", what, name, got, value)
		}
	}
}

func TestParseDockerfileTakesInstructionsApart(t *testing.T) {
	t.Parallel()
	doc := parseDockerfile(strings.Join([]string{
		"# syntax=docker/dockerfile:1.7", "#escape = `", "# a comment", "# escape=\\", "",
		"from --platform=$BUILDPLATFORM debian:12 As build", // line 6
		"RUN one `", "  # left out", "", "  && two", // 7 to 10
		"COPY <<EOF <<'B.x' /etc/", "first $HOME", "EOF", "second $HOME", "B.x", // 11 to 15
		"ONBUILD ADD --chown=a [\"x y\", \"/z\"]", // 16
		"RUN <<-END", "\tthree", "\tEND", // 17 to 19
		"CMD [\"a\", 'b']", "HOLD on", "USER", // 20 to 22
		"RUN <<NEVER", "body",
	}, "\r\n"))
	if doc.escape != '`' || doc.directives["syntax"] != "docker/dockerfile:1.7" || len(doc.directives) != 2 {
		t.Errorf("directives %v, escape %q", doc.directives, doc.escape)
	}
	var got []string
	for _, in := range doc.instructions {
		got = append(got, fmt.Sprintf("%d %s %v %q %q %q %v %v", in.line, in.keyword, in.upper, in.flags, in.args, in.list, in.onbuild, in.heredocs))
		got[len(got)-1] = strings.ReplaceAll(got[len(got)-1], "\n", "/")
	}
	want := []string{
		`6 FROM false ["--platform=$BUILDPLATFORM"] "debian:12 As build" [] false []`,
		`7 RUN true [] "one   && two" [] false []`,
		`11 COPY true [] "<<EOF <<'B.x' /etc/" [] false [{EOF first $HOME/ false} {B.x second $HOME/ true}]`,
		`16 ADD true ["--chown=a"] "[\"x y\", \"/z\"]" ["x y" "/z"] true []`,
		`17 RUN true [] "<<-END" [] false [{END three/ false}]`,
		`20 CMD true [] "[\"a\", 'b']" [] false []`,
		`23 RUN true [] "<<NEVER" [] false [{NEVER body/ false}]`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("instructions:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	wrong := []dockerError{{21, `unknown instruction "HOLD"`}, {22, "USER: want arguments"}, {23, "the here-document NEVER does not end"}}
	if !slices.Equal(doc.wrong, wrong) {
		t.Errorf("wrong: %v, want %v", doc.wrong, wrong)
	}
}

func TestExpandDockerReplacesVariables(t *testing.T) {
	t.Parallel()
	values := map[string]string{"A": "a", "EMPTY": "", "LONG_1": "l"}
	value := func(name string) (string, bool) { v, ok := values[name]; return v, ok }
	for text, want := range map[string]string{
		"x$A-${A}_$LONG_1.": "xa-a_l.", `\$A`: "$A", "$": "$", "${A": "${A", "a$": "a$", "$1": "$1",
		"${B:-$A}": "a", "${EMPTY:-x}": "x", "${EMPTY-x}": "", "${A:+y}": "y", "${EMPTY:+y}": "", "${B+y}": "", "${B-}": "", "${A:-${B}}": "a",
	} {
		if got, ok := expandDocker(text, '\\', value); got != want || !ok {
			t.Errorf("%s is %q, %v, want %q", text, got, ok, want)
		}
	}
	for _, text := range []string{"$B", "${B}", "x${B:-$C}", strings.Repeat("x", maxExpanded+1)} {
		if got, ok := expandDocker(text, '\\', value); ok {
			t.Errorf("%.20s is resolved to %.20q", text, got)
		}
	}
}

func TestDockerfileStages(t *testing.T) {
	t.Parallel()
	facts := dockerFacts(`ARG BASE=alpine
ARG TAG=3.22
ARG OPEN
FROM golang:1.24 AS build
USER nobody
HEALTHCHECK CMD true
FROM --platform=linux/amd64 ${BASE}:${TAG} AS run
FROM registry.example:5000/x/y@sha256:0123 AS Build
CMD a
CMD ["b"]
FROM ubuntu
FROM node:18.2-slim AS old
FROM $OPEN AS open
FROM scratch
COPY --from=0 /a /a
COPY --from=run /b /b
COPY --from=busybox /c /c
FROM build AS last
RUN a
RUN b
RUN --mount=type=cache,target=/x c
RUN d
`)
	for subject, want := range map[string]map[string]any{
		"build/stage": {"base": "registry.example:5000/x/y@sha256:0123", "external": true, "resolved": true, "tag": "", "tagged": true, "latest": false, "pinned": true,
			"registry": "registry.example:5000", "duplicate": false, "name": "build"},
		"run/stage":  {"base": "alpine:3.22", "tag": "3.22", "pinned": false, "platform": "linux/amd64", "registry": "docker.io", "used": true, "outdated": ""},
		"3/stage":    {"base": "ubuntu", "tag": "", "tagged": false, "latest": false, "used": false, "name": ""},
		"old/stage":  {"outdated": "node 18 since 2025-04-30"},
		"open/stage": {"resolved": false, "base": "", "tagged": nil, "latest": nil, "pinned": nil},
		"6/stage":    {"external": false, "base": "scratch", "tagged": nil, "used": false},
		"last/stage": {"external": false, "base": "build", "final": true, "used": true, "runs_in_row": 2},
		"/dockerfile": {"stages": 8, "user": "", "root": true, "healthcheck": false, "starts": true,
			"syntax_pinned": true, "ignore_file": false, "ignores_secrets": true},
		"15/instruction": {"from": "0", "from_known": true, "final": false},
		"16/instruction": {"from": "run", "from_known": true},
		"17/instruction": {"from": "busybox", "from_known": false},
		"19/instruction": {"final": true, "stage": "last", "instruction": "RUN", "programs": []string{"a"}},
		"9/instruction":  {"shell_form": true, "final": true},
		"10/instruction": {"shell_form": false, "json": true},
	} {
		if subject == "build/stage" {
			want["name"], want["duplicate"] = "Build", true // the later one has the subject of the former
			subject = "Build/stage"
		}
		f, ok := facts[subject]
		if !ok {
			t.Errorf("no fact of %s", subject)
			continue
		}
		wantValues(t, subject, f, want)
	}
	wantValues(t, "the first stage", facts["build/stage"], map[string]any{"base": "golang:1.24", "used": true, "duplicate": false, "healthchecks": 1})
	wantValues(t, "the third stage", facts["Build/stage"], map[string]any{"commands": 2, "used": true})
}

func TestDockerfileStagesByArchitecture(t *testing.T) {
	t.Parallel()
	facts := dockerFacts("FROM --platform=$BUILDPLATFORM alpine:3.22 AS build-amd64\nFROM alpine:3.22 AS build-arm64\nFROM alpine:3.22 AS build-mips\nFROM build-${TARGETARCH}\nUSER 5\n")
	wantValues(t, "the last stage", facts["3/stage"], map[string]any{"base": "build-amd64", "resolved": true, "external": false})
	for name, want := range map[string]bool{"build-amd64": true, "build-arm64": true, "build-mips": false} {
		wantValues(t, name, facts[name+"/stage"], map[string]any{"used": want, "platform": ""})
	}
	wantValues(t, "an image by architecture", dockerFacts("FROM $TARGETARCH/alpine:3.22\n")["0/stage"], map[string]any{"base": "amd64/alpine:3.22", "resolved": true})
}

func TestImagesThatGetNoFixes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	for name, want := range map[string]string{
		"debian:12-slim": "", "debian:bookworm-20240101": "", "debian:11": "debian 11 since 2026-08-31", "debian:buster-slim": "debian 10 since 2024-06-30", "debian:wheezy": "debian wheezy since 2018-05-31",
		"ubuntu:20.04": "ubuntu 20.04 since 2025-05-29", "ubuntu:noble": "", "ubuntu": "", "alpine:3.19.1": "alpine 3.19 since 2025-11-01", "alpine:3.9": "alpine 3.9 since 2020-11-01", "alpine:3.23": "",
		"amazonlinux:2": "amazonlinux 2 since 2026-06-30", "amazonlinux:2018.03": "amazonlinux 2018 since 2023-12-31", "amazonlinux:2023": "", "centos:stream9": "centos since 2024-06-30",
		"node:20-alpine": "node 20 since 2026-04-30", "node:24-buster": "debian 10 since 2024-06-30", "python:3.13-slim-bookworm": "", "python:3.10": "python 3.10 since 2026-10-31",
		"public.ecr.aws/docker/library/python:3.8": "python 3.8 since 2024-10-07", "registry.example/debian:8": "", "someone/debian:8": "", "debian@sha256:00": "",
	} {
		if got := parseImage(name).outdated(now); got != want {
			t.Errorf("%s is outdated: %q, want %q", name, got, want)
		}
	}
}

func TestDockerfileAsItEnds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		text   string
		ignore []string
		want   map[string]any
	}{
		"nothing said": {"FROM debian:12\n", nil, map[string]any{"root": true, "user": "", "healthcheck": false, "starts": false, "workdir": false, "described": false}},
		"all said": {"# syntax=docker/dockerfile:1\nFROM debian:12\nUSER app\nWORKDIR /x\nHEALTHCHECK CMD x\nCMD [\"x\"]\nEXPOSE 80 443/tcp\nLABEL org.opencontainers.image.source=x\n", nil,
			map[string]any{"root": false, "user": "app", "healthcheck": true, "starts": true, "workdir": true, "described": true, "exposed": "443/tcp, 80", "labels": "org.opencontainers.image.source"}},
		"root in the end":          {"FROM debian:12\nUSER app\nUSER 0:0\n", nil, map[string]any{"root": true, "user": "0:0"}},
		"a user by an argument":    {"FROM debian:12\nARG WHO\nUSER $WHO\n", nil, map[string]any{"root": nil, "user": "$WHO"}},
		"and inherited":            {"FROM debian:12 AS a\nARG WHO\nUSER $WHO\nFROM a\n", nil, map[string]any{"root": nil}},
		"and said again":           {"FROM debian:12\nARG WHO\nUSER $WHO\nUSER 7\n", nil, map[string]any{"root": false}},
		"a user of the image's":    {"FROM mcr.microsoft.com/dotnet/aspnet:9.0\nUSER $APP_UID\n", nil, map[string]any{"root": false, "user": "1654"}},
		"root by an argument":      {"FROM debian:12\nARG WHO=root\nUSER ${WHO}\n", nil, map[string]any{"root": true}},
		"health check taken back":  {"FROM debian:12\nHEALTHCHECK CMD x\nHEALTHCHECK NONE\n", nil, map[string]any{"healthcheck": false}},
		"inherited":                {"FROM debian:12 AS a\nUSER app\nHEALTHCHECK CMD x\nENTRYPOINT x\nWORKDIR /\nFROM a\n", nil, map[string]any{"root": false, "healthcheck": true, "starts": true, "workdir": true}},
		"an image that has a user": {"FROM gcr.io/distroless/static:nonroot\n", nil, map[string]any{"root": false}},
		"whole, and no list":       {"FROM debian:12\nCOPY . /x\n", nil, map[string]any{"ignore_file": false, "ignores_secrets": false}},
		"whole, and a list":        {"FROM debian:12\nCOPY ./ /x\n", []string{".git", "**/.env"}, map[string]any{"ignore_file": true, "ignores_secrets": true}},
		"whole, and half a list":   {"FROM debian:12\nADD / /x\n", []string{".*", "!.env"}, map[string]any{"ignores_secrets": false}},
		"all out but some":         {"FROM debian:12\nCOPY . /x\n", []string{"*", "!src"}, map[string]any{"ignores_secrets": true}},
		"compilers stay":           {"FROM debian:12\nRUN apt-get install -y gcc\n", nil, map[string]any{"compiles": true}},
		"compilers go":             {"FROM debian:12\nRUN apt-get install -y gcc && make && apt-get purge -y gcc\n", nil, map[string]any{"compiles": false}},
		"compilers are elsewhere":  {"FROM golang:1.24\nFROM debian:12\n", nil, map[string]any{"compiles": false}},
		"compilers' own image":     {"FROM golang:1.24\n", nil, map[string]any{"compiles": true}},
		"an open front end":        {"# syntax=docker/dockerfile\nFROM debian:12\n", nil, map[string]any{"syntax_pinned": false}},
	} {
		wantValues(t, name, dockerFacts(tt.text, tt.ignore...)["/dockerfile"], tt.want)
	}
}

// TestDockerfileInstructions judges one instruction each, the last of a Dockerfile.
func TestDockerfileInstructions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want map[string]any
	}{
		{"ENV A=1 DB_PASSWORD=x", map[string]any{"secrets": "DB_PASSWORD", "pairs": true}},
		{"ENV TOKEN secret word", map[string]any{"secrets": "TOKEN", "pairs": false}},
		{"ENV DB_PASSWORD_FILE=/run/secrets/db PASSWORD=", map[string]any{"secrets": ""}},
		{"ENV NODE_TLS_REJECT_UNAUTHORIZED=0", map[string]any{"fetch_unverified": true}},
		{"COPY <<EOF /x\n-----BEGIN RSA PRIVATE KEY-----\nEOF", map[string]any{"secrets": "a private key", "heredoc": true}},
		{"COPY <<EOF /x\nurl = postgres://app:hunter2@db/x\nEOF", map[string]any{"secrets": "a password in an address"}},
		{"ARG NPM_TOKEN", map[string]any{"secrets": "NPM_TOKEN"}},
		{"ARG VERSION=1", map[string]any{"secrets": ""}},
		{"LABEL Maintainer=x", map[string]any{"keys_ok": false}},
		{"LABEL org.example.x=1 com.docker.y=2", map[string]any{"keys_ok": false}},
		{"LABEL org.example.x-1=\"a b\"", map[string]any{"keys_ok": true, "pairs": true}},
		{"LABEL version 1", map[string]any{"pairs": false}},
		{"USER root", map[string]any{"user_root": true, "user_numeric": false}},
		{"USER 1000:1000", map[string]any{"user_root": false, "user_numeric": true}},
		{"WORKDIR app", map[string]any{"absolute": false}},
		{"WORKDIR \"/app\"", map[string]any{"absolute": true}},
		{"WORKDIR $HOME/x", map[string]any{"absolute": true}},
		{"EXPOSE 80 22/tcp", map[string]any{"port_ok": true, "ssh_port": true}},
		{"EXPOSE 20-30", map[string]any{"port_ok": true, "ssh_port": true}},
		{"EXPOSE 70000", map[string]any{"port_ok": false, "ssh_port": false}},
		{"EXPOSE $PORT 8080/udp", map[string]any{"port_ok": true}},
		{"EXPOSE 80/http", map[string]any{"port_ok": false}},
		{"VOLUME [\"/data\", \"/etc/\"]", map[string]any{"volumes": "/etc"}},
		{"VOLUME /var/run/docker.sock", map[string]any{"docker_socket": true}},
		{"HEALTHCHECK NONE", map[string]any{"none": true}},
		{"HEALTHCHECK --interval=5s CMD x", map[string]any{"none": false}},
		{"CMD run --it", map[string]any{"shell_form": true}},
		{"ENTRYPOINT [\"/x\"]", map[string]any{"shell_form": false}},
		{"copy a /b", map[string]any{"upper": false, "instruction": "COPY"}},
		{"ONBUILD COPY . /x", map[string]any{"onbuild": true, "instruction": "COPY", "whole": true}},

		{"ADD app.py /app/", map[string]any{"remote": false, "archive": false, "local": true, "checked": nil}},
		{"ADD rootfs.tar.xz /", map[string]any{"archive": true}},
		{"ADD https://x.example/a.tgz /", map[string]any{"remote": true, "checked": false, "archive": false, "fetch_plain": false}},
		{"ADD --checksum=sha256:00 http://x.example/a /", map[string]any{"remote": true, "checked": true, "fetch_plain": true}},
		{"ADD https://github.com/x/y.git#0123456789012345678901234567890123456789 /", map[string]any{"checked": true}},
		{"COPY . .", map[string]any{"whole": true, "destination_ok": false}},
		{"COPY a b /c", map[string]any{"destination_ok": false}},
		{"COPY a b /c/", map[string]any{"destination_ok": true, "whole": false}},
		{"COPY .env deploy/id_rsa /x/", map[string]any{"sensitive": ".env, id_rsa"}},
		{"COPY .env.example /x", map[string]any{"sensitive": ""}},
		{"COPY [\"a b/.git\", \"/x/\"]", map[string]any{"sensitive": ".git"}},
		{"COPY --chmod=777 a /a", map[string]any{"mode": "777", "open_mode": true, "setuid": false}},
		{"COPY --chmod=4755 a /a", map[string]any{"open_mode": false, "setuid": true}},
		{"COPY --from=nginx:1.27 /a /a", map[string]any{"from": "nginx:1.27", "from_known": true, "local": false}},
		{"COPY --from=nginx:latest /a /a", map[string]any{"from_known": false}},
		{"RUN --mount=type=bind,from=nginx,target=/x true", map[string]any{"from": "nginx", "from_known": false}},
		{"RUN --security=insecure mount /x", map[string]any{"elevated": true, "useless": "mount"}},
		{"RUN --network=none true", map[string]any{"elevated": false}},
	} {
		text := "FROM debian:12\n" + tt.text + "\n"
		wantValues(t, tt.text, dockerFacts(text)["2/instruction"], tt.want)
	}
}

// TestDockerfileCommands judges one RUN each.
func TestDockerfileCommands(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	for _, tt := range []struct {
		run   string
		field string
		want  any
	}{
		{"sudo apt-get update", "sudo", yes}, {"a && sudo -E b", "sudo", yes}, {"su -c 'x' app", "sudo", yes}, {"echo sudo", "sudo", no}, {"apt-get install -y sudo", "sudo", no},
		{"[ x ] || sudo y", "sudo", yes}, {"# sudo", "sudo", no}, {"sh -c 'sudo x'", "sudo", yes}, {"gosu app x", "sudo", no},

		{"curl -fsSL https://x | sh", "fetch_pipe", yes}, {"wget -qO- x | tee f | sudo bash -s -- -y", "fetch_pipe", yes}, {"curl x | tar xz", "fetch_pipe", no},
		{"bash -c \"$(curl x)\"", "fetch_pipe", yes}, {"bash <(curl x)", "fetch_pipe", yes}, {"eval \"$(curl x)\"", "fetch_pipe", yes}, {"curl -o f x && sh f", "fetch_pipe", no},
		{"sh -c 'curl x | python3 -'", "fetch_pipe", yes}, {"sh -c 'curl x > f'", "fetch_pipe", no}, {"if curl x; then sh y; fi", "fetch_pipe", no}, {"V=$(curl x) && sh y", "fetch_pipe", no},

		{"curl http://x.example/a", "fetch_plain", yes}, {"curl http://localhost:80/", "fetch_plain", no}, {"curl https://x", "fetch_plain", no}, {"echo http://x", "fetch_plain", no},
		{"git clone git://x.example/y", "fetch_plain", yes}, {"pip install --index-url=http://x.example/ y", "fetch_plain", yes},
		{"curl -fsSLk https://x", "fetch_unverified", yes}, {"curl --insecure x", "fetch_unverified", yes}, {"curl -o k https://x", "fetch_unverified", no}, {"curl -okay x", "fetch_unverified", no},
		{"wget --no-check-certificate x", "fetch_unverified", yes}, {"git config --global http.sslVerify false", "fetch_unverified", yes}, {"GIT_SSL_NO_VERIFY=1 git clone x", "fetch_unverified", yes},
		{"npm config set strict-ssl false", "fetch_unverified", yes}, {"pip install --trusted-host x y", "fetch_unverified", yes}, {"curl -H k: x", "fetch_unverified", no},
		{"curl x && wget y", "fetchers", yes}, {"curl x && curl y", "fetchers", no}, {"apt-get install -y curl wget", "fetchers", no},

		{"a | b", "pipe_unsafe", yes}, {"set -o pipefail && a | b", "pipe_unsafe", no}, {"set -eux -o pipefail; a | b", "pipe_unsafe", no}, {"a || b", "pipe_unsafe", no}, {"echo 'a | b'", "pipe_unsafe", no},
		{"bash -o pipefail -c 'a | b'", "pipe_unsafe", no}, {"sh -c 'a | b'", "pipe_unsafe", yes}, {"a | b && set -o pipefail", "pipe_unsafe", yes}, {"case x in a|b) y;; esac", "pipe_unsafe", no}, {"case x in a|b) y;; c | d) z;; *) w | v;; esac; u", "programs", "[case y z w v u]"}, {"case x in a) y | z;; esac", "pipe_unsafe", yes}, {"case $(uname -m) in x86_64) a=b ;; *) exit 1 ;; esac && sudo x", "sudo", yes}, {"case x in (a) y;; esac", "programs", "[case y]"},

		{"apt-get update", "update_alone", yes}, {"apt-get update && apt-get install -y x", "update_alone", no}, {"apk update", "update_alone", yes}, {"yum update -y", "update_alone", no},
		{"apt-get install -y x", "apt_recommends", yes}, {"apt-get install -y --no-install-recommends x", "apt_recommends", no}, {"apt-get -o APT::Install-Recommends=false install -y x", "apt_recommends", no},
		{"echo 'APT::Install-Recommends \"0\";' > /etc/apt/apt.conf.d/x && apt-get install -y y", "apt_recommends", no},
		{"apt-get update && apt-get install -y x", "apt_lists", yes}, {"apt-get update && apt-get install -y x && rm -rf /var/lib/apt/lists/*", "apt_lists", no}, {"apt-get install -y x", "apt_lists", no},
		{"--mount=type=cache,target=/var/lib/apt,sharing=locked apt-get update && apt-get install -y x", "apt_lists", no},
		{"apt-get install x", "apt_asks", yes}, {"apt-get install -y x", "apt_asks", no}, {"apt-get -qqy install x", "apt_asks", no}, {"apt-get -qq install x", "apt_asks", no}, {"DEBIAN_FRONTEND=noninteractive apt-get --yes install x", "apt_asks", no},
		{"apt-get update", "apt_asks", no}, {"apt update", "apt_command", yes}, {"apt-get update", "apt_command", no}, {"ls /etc/apt", "apt_command", no},
		{"apt-get install -y --allow-unauthenticated x", "packages_unverified", yes}, {"apk add --allow-untrusted x", "packages_unverified", yes}, {"yum install -y --nogpgcheck x", "packages_unverified", yes},
		{"dnf install -y --setopt=gpgcheck=0 x", "packages_unverified", yes}, {"dnf install -y x", "packages_unverified", no},

		{"apk add x", "package_cache", yes}, {"apk add --no-cache x", "package_cache", no}, {"apk add x && rm -rf /var/cache/apk/*", "package_cache", no}, {"apk --no-cache add x", "package_cache", no},
		{"yum install -y x", "package_cache", yes}, {"yum install -y x && yum clean all", "package_cache", no}, {"dnf -y install x && rm -rf /var/cache/dnf", "package_cache", no}, {"microdnf install -y x && microdnf clean all", "package_cache", no},
		{"pip install x==1", "package_cache", yes}, {"pip3 install --no-cache-dir x==1", "package_cache", no}, {"PIP_NO_CACHE_DIR=1 pip install x==1", "package_cache", no}, {"--mount=type=cache,target=/root/.cache pip install x==1", "package_cache", no},
		{"npm ci", "package_cache", yes}, {"npm ci && npm cache clean --force", "package_cache", no}, {"npm run build", "package_cache", no}, {"pip list", "package_cache", no},
		{"yum install x", "packages_asks", yes}, {"zypper -n install x", "packages_asks", no}, {"dnf install --assumeyes x", "packages_asks", no}, {"dnf -y install x", "packages_asks", no},

		{"pip install flask requests==2.31 -r requirements.txt ./local git+https://x/y", "unpinned", "flask"}, {"python3 -m pip install --upgrade pip", "unpinned", "pip"}, {"pip install -e .", "unpinned", ""},
		{"npm install -g yarn@1.22 typescript @scope/x @scope/y@2", "unpinned", "@scope/x, typescript"}, {"npm install", "unpinned", ""}, {"gem install rails -v 7", "unpinned", ""}, {"gem install rails", "unpinned", "rails"},
		{"go install x.org/y@latest", "unpinned", "x.org/y@latest"}, {"go install x.org/y@v1.2.3", "unpinned", ""}, {"go build ./...", "unpinned", ""}, {"cargo install ripgrep --version 14", "unpinned", ""},
		{"apt-get install -y curl=7.* git $MORE ./x.deb", "unpinned_system", "git"}, {"apk add --no-cache curl=8 git~2 jq", "unpinned_system", "jq"}, {"apk add --virtual .deps gcc", "unpinned_system", "gcc"},
		{"yum install -y httpd-2.4.6 nginx", "unpinned_system", "nginx"}, {"apt-get install -y x -t bookworm-backports", "unpinned_system", "x"},

		{"apt-get install -y openssh-server", "ssh_server", yes}, {"apk add openssh-client", "ssh_server", no}, {"/usr/sbin/sshd -D", "ssh_server", yes}, {"apk add openssh", "ssh_server", yes},
		{"cd /app && make", "changes_directory", yes}, {"make && cd /app", "changes_directory", no}, {"cd app && make", "changes_directory", no},
		{"service x start", "useless", "service"}, {"systemctl enable x", "useless", ""}, {"systemctl start x", "useless", "systemctl"}, {"apt-get install -y vim", "useless", ""},
		{"echo 'root:x' | chpasswd", "sets_password", yes}, {"passwd -l root", "sets_password", no}, {"passwd -d root", "sets_password", yes}, {"useradd -p x y", "sets_password", yes}, {"useradd -m y", "sets_password", no},
		{"useradd -u 2000000 x", "sticky_user", yes}, {"useradd -l -u 2000000 x", "sticky_user", no}, {"useradd -u 1000 x", "sticky_user", no},
		{"chmod 777 /x", "open_mode", yes}, {"chmod -R a+rwX /x", "open_mode", yes}, {"chmod 1777 /tmp", "open_mode", no}, {"chmod 755 /x", "open_mode", no}, {"chmod o-w /x", "open_mode", no}, {"chmod g+w,o+w x", "open_mode", yes},
		{"chmod u+s /x", "setuid", yes}, {"chmod +s /x", "setuid", yes}, {"chmod 4755 /x", "setuid", yes}, {"chmod 0755 /x", "setuid", no}, {"install -m 4755 a b", "setuid", yes}, {"find / -perm /6000 -exec chmod a-s {} +", "setuid", no},
		{"docker -H unix:///var/run/docker.sock ps", "docker_socket", yes},

		{"export DB_PASSWORD=hunter2 && x", "secrets", "DB_PASSWORD"}, {"DB_PASSWORD=$PW x", "secrets", ""}, {"TOKEN=$(cat /run/secrets/t) x", "secrets", ""}, {"curl -u admin:hunter2 https://x", "secrets", "an argument of curl"},
		{"curl -u $USER:$PW https://x", "secrets", ""}, {"curl -H \"Authorization: Bearer $T\" x", "secrets", ""}, {"curl -H 'Authorization: Bearer abcdef123456' x", "secrets", "an argument of curl"},
		{"git clone https://me:hunter2@x.example/y", "secrets", "a password in an address, an argument of git"}, {"git clone https://me:$PW@x.example/y", "secrets", ""},
		{"echo AKIAIOSFODNN7EXAMPLE", "secrets", "a key of a known form, an argument of echo"}, {"mysql --password hunter2", "secrets", "an argument of mysql"},
		{"echo '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef  f' | sha256sum -c", "secrets", ""},
		{"curl -fsSLo f https://x/y && echo \"$SUM f\" | sha256sum -c -", "secrets", ""}, {"apt-get install -y --no-install-recommends ca-certificates", "secrets", ""},
	} {
		text := "FROM debian:12\nRUN " + tt.run + "\n"
		wantValues(t, "RUN "+tt.run, dockerFacts(text)["2/instruction"], map[string]any{tt.field: tt.want})
	}
}

func TestDockerfileCommandsInOtherForms(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]map[string]any{
		"RUN [\"sudo\", \"x\"]":                                    {"sudo": true, "programs": "[x]"},
		"RUN [\"/bin/sh\", \"-c\", \"curl x | sh\"]":               {"fetch_pipe": true},
		"RUN <<EOF\napt-get update\nsudo x\nEOF":                   {"sudo": true, "update_alone": true, "heredoc": true},
		"RUN bash -e <<EOF\nsudo x\nEOF":                           {"sudo": true},
		"RUN python3 <<EOF\nsudo x\nEOF":                           {"sudo": false, "programs": "[python3]"},
		"RUN <<EOF\n#!/usr/bin/env python3\nsudo x\nEOF":           {"sudo": false},
		"RUN <<EOF\n#!/bin/bash\nsudo x\nEOF":                      {"sudo": true},
		"RUN cat <<EOF > /etc/x && sudo y\nsudo z\nEOF":            {"sudo": true},
		"RUN cat <<EOF > /etc/x\nsudo z\nEOF":                      {"sudo": false},
		"RUN a \\\n  # why\n  && sudo b":                           {"sudo": true, "line": 2},
		"RUN cat <<EOF > /k\n-----BEGIN RSA PRIVATE KEY-----\nEOF": {"secrets": "a private key"},
	} {
		wantValues(t, text, dockerFacts("FROM debian:12\n" + text + "\n")["2/instruction"], want)
	}
	wantValues(t, "pipefail by SHELL", dockerFacts("FROM debian:12\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN a | b\n")["3/instruction"], map[string]any{"pipe_unsafe": false})
	wantValues(t, "another shell", dockerFacts("FROM x:1\nSHELL [\"powershell\", \"-Command\"]\nRUN sudo x | y\n")["3/instruction"], map[string]any{"pipe_unsafe": false, "sudo": false})
	wantValues(t, "both fetchers", dockerFacts("FROM debian:12\nRUN curl x\nRUN wget y\nRUN wget z\n")["3/instruction"], map[string]any{"fetchers": true})
	wantValues(t, "both fetchers once", dockerFacts("FROM debian:12\nRUN curl x\nRUN wget y\nRUN wget z\n")["4/instruction"], map[string]any{"fetchers": false})
	wantValues(t, "cache off by ENV", dockerFacts("FROM debian:12\nENV PIP_NO_CACHE_DIR=1\nRUN pip install x\n")["3/instruction"], map[string]any{"package_cache": false})
}

func TestDockerfileErrorsNameTheirLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"FROM debian:12\n\nHOLD on\n":    "Dockerfile:3: unknown instruction \"HOLD\"",
		"FROM debian:12\nRUN <<EOF\nx\n": "Dockerfile:2: the here-document EOF does not end",
		"FROM debian:12\nUSER\n":         "Dockerfile:2: USER: want arguments",
		"FROM debian:12\nCOPY a\n":       "Dockerfile:2: COPY: want at least 2 arguments",
		"FROM debian:12\nRUN []\n":       "Dockerfile:2: RUN: want at least 1 arguments",
		"RUN x\n":                        "Dockerfile: want a FROM: there is no stage",
		"":                               "Dockerfile: want a FROM: there is no stage",
	} {
		if got := dockerFacts(text)["/dockerfile"].Err(); got != want {
			t.Errorf("error of %q is %q, want %q", text, got, want)
		}
	}
	if got := dockerFacts("RUN x\nFROM a\n")["1/instruction"].Err(); got != "Dockerfile:1: RUN stands before the first FROM" {
		t.Errorf("error of the instruction is %q", got)
	}
	if got := dockerFacts("FROM a\nHOLD on\n")["2/instruction"].Err(); got != "Dockerfile:2: unknown instruction \"HOLD\"" {
		t.Errorf("error of the instruction is %q", got)
	}
}

func TestDockerfileSurveyReadsRegularFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	good := write("Dockerfile", "FROM debian:12\nCOPY . /x\n")
	write(".dockerignore", "# comment\n.git\n.env\n")
	large := write("large", strings.Repeat("# x\n", maxDockerfile/4+1))
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	errs, kinds := map[string]string{}, map[string]int{}
	survey := DockerfileSurvey(good, large, pipe, filepath.Join(dir, "none"))
	if err := survey.Survey(t.Context(), func(f event.Fact) {
		kinds[f.Kind.Name]++
		if f.Kind == event.Dockerfile {
			errs[filepath.Base(f.Subject)] = f.Err()
			if f.Subject == good {
				wantValues(t, good, f, map[string]any{"ignore_file": true, "ignores_secrets": true})
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	for name, part := range map[string]string{"large": "it has more than 1048576 bytes", "pipe": "it is no regular file", "none": "no such file"} {
		if !strings.Contains(errs[name], part) {
			t.Errorf("error of %s is %q, want it to say %q", name, errs[name], part)
		}
	}
	if errs["Dockerfile"] != "" || kinds["dockerfile"] != 4 || kinds["dockerfile_stage"] != 1 || kinds["dockerfile_instruction"] != 2 {
		t.Errorf("error %q, facts %v", errs["Dockerfile"], kinds)
	}
}

// FuzzDockerfile wants no panic, an end, and facts of bounded size.
func FuzzDockerfile(f *testing.F) {
	for _, text := range []string{
		"FROM a\nRUN <<EOF\nx\nEOF\n", "# escape=`\nFROM ${A:-${B:-x}}\nRUN a ` \n b", "ONBUILD ONBUILD RUN x", "FROM a AS a\nFROM a AS a\nFROM a",
		"FROM a\nCOPY --from=9 [\"\"]\nADD \n", "FROM x\nRUN sh -c \"sh -c 'sh -c \\\"$(`x`)\\\"'\"", "FROM x\nRUN echo \"$(", "FROM x\nENV A=\"\n", "\ufeffFROM a\r\nEXPOSE 1-\nUSER :\nVOLUME []\nCMD []\nCOPY []\nRUN []",
		"FROM x\nRUN apt-get install -y x | sudo su -c 'curl -k http://a|sh' && chmod +s 7777 && useradd -u 99999999 y && pip install -r",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		judgeDockerfile("F", text, nil, time.Time{}, func(fact event.Fact) {
			n++
			if line, ok := fact.Values["line"].(int64); ok && (line < 1 || line > int64(strings.Count(text, "\n")+1)) {
				t.Errorf("line %d of %q", line, text)
			}
		})
		if n > 2*maxDockerInstructions+maxDockerErrors+1 {
			t.Errorf("%d facts", n)
		}
	})
}
