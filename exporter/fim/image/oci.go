package image

import (
	"cmp"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// What follows is what is used of the OCI image specification 1.1 and of docker save's archives. Unknown fields are
// allowed, as both say.

type descriptor struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Digest       digest            `json:"digest"`
	Size         int64             `json:"size"`
	Platform     *platform         `json:"platform"`
	Annotations  map[string]string `json:"annotations"`
}

type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

type index struct {
	Manifests []descriptor `json:"manifests"`
}

type manifest struct {
	MediaType string       `json:"mediaType"`
	Config    *descriptor  `json:"config"`
	Layers    []descriptor `json:"layers"`
	Manifests []descriptor `json:"manifests"` // if it is an index
}

type imageConfig struct {
	platform
	Config struct {
		User       string
		Env        []string
		Cmd        []string
		Entrypoint []string
		Labels     map[string]string
	} `json:"config"`
	RootFS struct {
		DiffIDs []digest `json:"diff_ids"`
	} `json:"rootfs"`
	History []struct {
		CreatedBy  string `json:"created_by"`
		EmptyLayer bool   `json:"empty_layer"`
	} `json:"history"`
}

// A savedImage is one of manifest.json's.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// Bounds of an image.
const (
	maxLayers  = 1000 // overlayfs takes 500, and nothing less
	maxNesting = 4    // indexes in indexes
	maxHistory = 200  // letters of what made a layer
)

// Annotations that name an image in an index.
const (
	refName         = "org.opencontainers.image.ref.name"
	containerdName  = "io.containerd.image.name"
	referenceType   = "vnd.docker.reference.type" // of what is no image, but says something of one
	unknownPlatform = "unknown"
)

func (p platform) String() string {
	if p.OS == "" {
		return ""
	}
	return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
}

// parsePlatform reads os/architecture[/variant].
func parsePlatform(text string) (platform, error) {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return platform{}, fmt.Errorf("platform %q: want os/architecture or os/architecture/variant, such as linux/amd64", text)
	}
	return platform{parts[0], parts[1], strings.Join(parts[2:], "")}, nil
}

// fits says whether an image for p is what somebody who asks for want wants. Who names no variant takes any, and
// arm64 has only one.
func (p platform) fits(want platform) bool {
	variant := p.Variant == want.Variant || want.Variant == "" || p.Architecture == "arm64" && p.Variant == "" && want.Variant == "v8"
	return p.OS == want.OS && p.Architecture == want.Architecture && variant
}

// A digest is an algorithm and hexadecimal digits of a sum.
type digest string

var digestForm = regexp.MustCompile(`^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)

func (d digest) check() error {
	if !digestForm.MatchString(string(d)) {
		return fmt.Errorf("digest %q: want sha256: or sha512: and its hexadecimal digits", shorten(printable(string(d)), maxHistory))
	}
	return nil
}

func (d digest) hash() hash.Hash {
	if strings.HasPrefix(string(d), "sha512:") {
		return sha512.New()
	}
	return sha256.New()
}

func (d digest) file() string { return "blobs/" + strings.Replace(string(d), ":", "/", 1) }

// verify compares the sum of what was read with the digest.
func (d digest) verify(h hash.Hash) error {
	algorithm, _, _ := strings.Cut(string(d), ":")
	if is := algorithm + ":" + hex.EncodeToString(h.Sum(nil)); is != string(d) {
		return fmt.Errorf("its content is %s, not %s as it should be", is, d)
	}
	return nil
}

// A plan is which files make an image.
type plan struct {
	image  Image
	config imageConfig
	layers []plannedLayer
}

type plannedLayer struct {
	file      string
	mediaType string
	blob      digest // of the file as it is; empty where nobody says
	size      int64  // of the file, -1 where nobody says
	diffID    digest
	createdBy string
}

// planImage finds out what to read: an index.json comes before a manifest.json, which newer Dockers write for older ones.
func planImage(s store, o Options) (*plan, error) {
	text, err := s.document("index.json")
	if errors.Is(err, fs.ErrNotExist) {
		return planSaved(s, o)
	}
	if err != nil {
		return nil, err
	}
	var top index
	if err := decodeJSON("index.json", text, &top); err != nil {
		return nil, err
	}
	chosen, err := choose(s, top.Manifests, o)
	if err != nil {
		return nil, err
	}
	return planManifest(s, chosen, o)
}

func decodeJSON(name string, text []byte, to any) error {
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// blobDocument reads a document that a descriptor describes, and verifies it.
func blobDocument(s store, d descriptor, to any) error {
	if err := d.Digest.check(); err != nil {
		return err
	}
	text, err := s.document(d.Digest.file())
	if err != nil {
		return err
	}
	h := d.Digest.hash()
	h.Write(text)
	if err := d.Digest.verify(h); err != nil {
		return fmt.Errorf("%s: %w", d.Digest.file(), err)
	}
	if int64(len(text)) != d.Size {
		return fmt.Errorf("%s: %d bytes: want %d, as its descriptor says", d.Digest.file(), len(text), d.Size)
	}
	return decodeJSON(d.Digest.file(), text, to)
}

// A candidate is an image manifest that an index leads to.
type candidate struct {
	descriptor
	manifest manifest
	name     string // of what leads to it
	platform platform
}

// choose takes the manifest that the options ask for.
func choose(s store, list []descriptor, o Options) (*candidate, error) {
	all, err := candidates(s, list, "", 0)
	if err != nil {
		return nil, err
	}
	all, err = byReference(all, o.Reference)
	if err != nil {
		return nil, err
	}
	return byPlatform(s, all, o.Platform)
}

func candidates(s store, list []descriptor, name string, depth int) (all []*candidate, err error) {
	for _, d := range list {
		if d.Annotations[referenceType] != "" || d.ArtifactType != "" {
			continue
		}
		c := &candidate{descriptor: d, name: cmp.Or(d.Annotations[containerdName], d.Annotations[refName], name)}
		if err := blobDocument(s, d, &c.manifest); err != nil {
			if errors.Is(err, fs.ErrNotExist) && d.Platform != nil {
				continue // whoever has saved one platform has left the others' manifests out
			}
			return nil, err
		}
		if c.manifest.Manifests != nil {
			if depth == maxNesting {
				return nil, fmt.Errorf("%s: more than %d indexes in one another", d.Digest.file(), maxNesting)
			}
			nested, err := candidates(s, c.manifest.Manifests, c.name, depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, nested...)
			continue
		}
		if c.manifest.Config == nil || !isImageConfig(c.manifest.Config.MediaType) {
			return nil, fmt.Errorf("%s: want the manifest of an image, with its config", d.Digest.file())
		}
		if d.Platform != nil {
			c.platform = *d.Platform
		}
		if c.platform.OS == unknownPlatform {
			continue
		}
		if all = append(all, c); len(all) > maxLayers {
			return nil, fmt.Errorf("%w: %d manifests", ErrTooMuch, maxLayers)
		}
	}
	return all, nil
}

func isImageConfig(mediaType string) bool {
	return mediaType == "" || mediaType == "application/vnd.oci.image.config.v1+json" || mediaType == "application/vnd.docker.container.image.v1+json"
}

// byReference leaves the images of one name. It may be given without the repository that containerd has before it.
func byReference(all []*candidate, reference string) ([]*candidate, error) {
	var names []string
	var some []*candidate
	for _, c := range all {
		if !slices.Contains(names, c.name) {
			names = append(names, c.name)
		}
		if reference != "" && (c.name == reference || c.Annotations[refName] == reference || strings.HasSuffix(c.name, "/"+reference)) {
			some = append(some, c)
		}
	}
	switch {
	case len(all) == 0:
		return nil, errors.New("no manifest of an image in it")
	case reference != "" && len(some) == 0:
		return nil, fmt.Errorf("no image %q: want one of %s", reference, quoted(names))
	case reference != "":
		return some, nil
	case len(names) > 1:
		return nil, fmt.Errorf("%d images: want the reference of one, of %s", len(names), quoted(names))
	}
	return all, nil
}

func quoted(names []string) string {
	var all []string
	for _, name := range names[:min(len(names), 20)] {
		all = append(all, fmt.Sprintf("%q", name))
	}
	return strings.Join(all, ", ")
}

// byPlatform takes the image of one platform: by default the only one, or Linux on this machine's architecture.
func byPlatform(s store, all []*candidate, asked string) (*candidate, error) {
	if asked == "" && len(all) == 1 {
		return all[0], nil
	}
	want := platform{OS: "linux", Architecture: runtime.GOARCH}
	if asked != "" {
		var err error
		if want, err = parsePlatform(asked); err != nil {
			return nil, err
		}
	}
	var have []string
	var best *candidate
	for _, c := range all {
		if c.platform.OS == "" {
			if err := blobDocument(s, *c.manifest.Config, &c.platform); err != nil {
				return nil, fmt.Errorf("config: %w", err)
			}
		}
		p := c.platform
		have = append(have, p.String())
		if p.fits(want) && (best == nil || p.Variant == want.Variant && best.platform.Variant != want.Variant) {
			best = c
		}
	}
	if best == nil {
		return nil, fmt.Errorf("no image for %s: want one of %s", want, strings.Join(have, ", "))
	}
	return best, nil
}

func planManifest(s store, c *candidate, o Options) (*plan, error) {
	p := &plan{image: Image{Reference: printable(c.name), Manifest: string(c.Digest), Config: string(c.manifest.Config.Digest)}}
	if err := blobDocument(s, *c.manifest.Config, &p.config); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	for _, l := range c.manifest.Layers {
		if err := l.Digest.check(); err != nil {
			return nil, fmt.Errorf("layer: %w", err)
		}
		p.layers = append(p.layers, plannedLayer{file: l.Digest.file(), mediaType: l.MediaType, blob: l.Digest, size: l.Size})
	}
	return p, p.complete(o, c.platform)
}

// planSaved reads what docker save wrote before it knew OCI: nothing but the configuration has digests.
func planSaved(s store, o Options) (*plan, error) {
	text, err := s.document("manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("neither index.json nor manifest.json: want an OCI layout, or what docker save writes")
	}
	if err != nil {
		return nil, err
	}
	var all []savedImage
	if err := decodeJSON("manifest.json", text, &all); err != nil {
		return nil, err
	}
	saved, err := chooseSaved(all, o.Reference)
	if err != nil {
		return nil, fmt.Errorf("manifest.json: %w", err)
	}
	p := &plan{}
	if len(saved.RepoTags) > 0 {
		p.image.Reference = printable(saved.RepoTags[0])
	}
	if text, err = s.document(saved.Config); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	sum := sha256.Sum256(text)
	p.image.Config = "sha256:" + hex.EncodeToString(sum[:])
	if name := strings.TrimSuffix(path.Base(saved.Config), ".json"); digest("sha256:"+name).check() == nil && "sha256:"+name != p.image.Config {
		return nil, fmt.Errorf("config: %s: its content is %s, not what it is named after", saved.Config, p.image.Config)
	}
	if err := decodeJSON(saved.Config, text, &p.config); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	for _, name := range saved.Layers {
		p.layers = append(p.layers, plannedLayer{file: path.Clean(name), size: -1})
	}
	return p, p.complete(o, platform{})
}

func chooseSaved(all []savedImage, reference string) (savedImage, error) {
	var names []string
	for _, s := range all {
		if reference != "" && slices.ContainsFunc(s.RepoTags, func(tag string) bool { return tag == reference || strings.HasSuffix(tag, "/"+reference) }) {
			return s, nil
		}
		names = append(names, s.RepoTags...)
	}
	switch {
	case len(all) == 0:
		return savedImage{}, errors.New("no image in it")
	case reference != "":
		return savedImage{}, fmt.Errorf("no image %q: want one of %s", reference, quoted(names))
	case len(all) > 1:
		return savedImage{}, fmt.Errorf("%d images: want the reference of one, of %s", len(all), quoted(names))
	}
	return all[0], nil
}

// complete adds what the configuration says of layers.
func (p *plan) complete(o Options, described platform) error {
	p.image.Platform = printable(cmp.Or(p.config.String(), described.String()))
	if o.Platform != "" {
		want, err := parsePlatform(o.Platform)
		if err != nil {
			return err
		}
		if is := p.config.platform; is.OS != "" && !is.fits(want) && !described.fits(want) {
			return fmt.Errorf("no image for %s: it is for %s", want, is)
		}
	}
	switch ids := p.config.RootFS.DiffIDs; {
	case len(p.layers) > maxLayers:
		return fmt.Errorf("%d layers: %w: %d", len(p.layers), ErrTooMuch, maxLayers)
	case len(ids) != len(p.layers):
		return fmt.Errorf("config: %d diff_ids: want as many as the manifest has layers, %d", len(ids), len(p.layers))
	}
	made := p.createdBy()
	for i, id := range p.config.RootFS.DiffIDs {
		if err := id.check(); err != nil {
			return fmt.Errorf("config: diff_ids: %w", err)
		}
		l := &p.layers[i]
		l.diffID, l.createdBy = id, made[i]
		p.image.Layers = append(p.image.Layers, Layer{Digest: string(cmp.Or(l.blob, id)), DiffID: string(id), CreatedBy: l.createdBy})
	}
	return nil
}

// createdBy returns what made each layer, if the history tells it of all.
func (p *plan) createdBy() []string {
	var made []string
	for _, h := range p.config.History {
		if !h.EmptyLayer {
			made = append(made, h.CreatedBy)
		}
	}
	if len(made) != len(p.layers) {
		return make([]string, len(p.layers))
	}
	return made
}

// readLayers reads each file of a layer once, and verifies it. Layers that are the same share what was read.
func (p *plan) readLayers(g *reading, s store) ([][]entry, error) {
	byFile := map[string][]int{}
	var names []string
	for i, l := range p.layers {
		name, err := s.find(l.file)
		if err != nil {
			return nil, fmt.Errorf("layer %d of %d: %w", i+1, len(p.layers), err)
		}
		if byFile[name] == nil {
			names = append(names, name)
		}
		byFile[name] = append(byFile[name], i)
	}
	all := make([][]entry, len(p.layers))
	err := s.blobs(names, func(name string, r io.Reader) error {
		first := byFile[name][0]
		entries, err := p.layers[first].read(g, r)
		if err != nil {
			return fmt.Errorf("layer %d of %d (%s): %w", first+1, len(p.layers), name, err)
		}
		for _, i := range byFile[name] {
			if p.layers[i].diffID != p.layers[first].diffID {
				return fmt.Errorf("layers %d and %d are one file (%s), with two diff_ids", first+1, i+1, name)
			}
			all[i] = entries
		}
		return nil
	})
	return all, err
}

// read reads a layer to its last byte: what stands behind the archive counts for its digests too.
func (l *plannedLayer) read(g *reading, r io.Reader) ([]entry, error) {
	sums := io.Discard
	var blob hash.Hash
	if l.blob != "" {
		blob = l.blob.hash()
		sums = blob
	}
	var size counter
	packed := io.TeeReader(r, io.MultiWriter(sums, &size))
	z, isPacked, err := decompress(packed)
	if err != nil {
		return nil, l.named(err)
	}
	defer z.Close()
	content := l.diffID.hash()
	stream := g.count(z)
	twice := !isPacked && l.blob == l.diffID // then one sum says both
	if !twice {
		stream = io.TeeReader(stream, content)
	}
	entries, err := g.layer(stream, true)
	if err != nil {
		return nil, l.named(err)
	}
	for _, rest := range []io.Reader{stream, packed} {
		if _, err := io.CopyBuffer(io.Discard, onlyReader{rest}, g.chunk); err != nil {
			return nil, err
		}
	}
	if blob != nil {
		if err := l.blob.verify(blob); err != nil {
			return nil, err
		}
	}
	if l.size >= 0 && int64(size) != l.size {
		return nil, fmt.Errorf("%d bytes: want %d, as its descriptor says", size, l.size)
	}
	if twice {
		return entries, nil
	}
	if err := l.diffID.verify(content); err != nil {
		return nil, fmt.Errorf("decompressed: %w", err)
	}
	return entries, nil
}

// named adds the media type to an error: what no reader knows says there what it is.
func (l *plannedLayer) named(err error) error {
	if l.mediaType == "" {
		return err
	}
	return fmt.Errorf("%s: %w", printable(l.mediaType), err)
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func shorten(text string, letters int) string {
	if runes := []rune(text); len(runes) > letters {
		return string(runes[:letters]) + "…"
	}
	return text
}
