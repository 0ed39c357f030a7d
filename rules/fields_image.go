package rules

import "strings"

// An image is the parts of an image's reference: registry and repository, tag, digest. Any may be empty.
type image struct{ repository, tag, digest string }

// parseImage takes a reference apart: registry:5000/team/name:tag@sha256:…
func parseImage(ref string) (i image) {
	if _, rest, ok := strings.Cut(ref, "://"); ok {
		ref = rest
	}
	if isDigest(ref) {
		return image{digest: ref}
	}
	i.repository, i.digest, _ = strings.Cut(ref, "@")
	if colon := strings.LastIndexByte(i.repository, ':'); colon > strings.LastIndexByte(i.repository, '/') {
		i.repository, i.tag = i.repository[:colon], i.repository[colon+1:]
	}
	if i.repository != "" && i.tag == "" && i.digest == "" {
		i.tag = "latest"
	}
	return i
}

// isDigest says that a reference is nothing but a digest: an algorithm, a colon, at least 32 hexadecimal digits.
func isDigest(ref string) bool {
	algorithm, sum, ok := strings.Cut(ref, ":")
	return ok && algorithm != "" && len(sum) >= 32 && strings.Trim(sum, "0123456789abcdef") == "" && !strings.ContainsAny(algorithm, "/.")
}

// digestOf is the digest in a reference such as docker.io/library/nginx@sha256:…, nothing if there is none.
func digestOf(ref string) string {
	_, digest, _ := strings.Cut(ref, "@")
	return digest
}

// imageID is the hexadecimal digits of an image's id.
func imageID(ref string) string {
	id := ref[strings.LastIndexByte(ref, '@')+1:]
	return strings.TrimPrefix(id, "sha256:")
}
