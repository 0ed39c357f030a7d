package image

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory that a zstd stream may ask for, in bytes: zstd's own tools take no more without being told.
const maxWindow = 128 << 20

// decompress returns what r holds, whatever its media type says: a gzip or zstd stream is told by its first bytes, and
// everything else is as it is. Close it when it was read.
func decompress(r io.Reader) (z io.ReadCloser, packed bool, err error) {
	buffered := bufio.NewReaderSize(r, headBytes)
	begin, err := buffered.Peek(4)
	if err != nil && err != io.EOF {
		return nil, false, err
	}
	switch {
	case bytes.HasPrefix(begin, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, true, fmt.Errorf("gzip: %w", err)
		}
		return z, true, nil
	case bytes.Equal(begin, []byte{0x28, 0xb5, 0x2f, 0xfd}), len(begin) == 4 && begin[0]&0xf0 == 0x50 && bytes.Equal(begin[1:], []byte{0x2a, 0x4d, 0x18}):
		// One goroutine: what reads is ours, and nothing is left behind.
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, true, fmt.Errorf("zstd: %w", err)
		}
		return z.IOReadCloser(), true, nil
	}
	return io.NopCloser(buffered), false, nil
}
