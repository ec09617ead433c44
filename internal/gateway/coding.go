package gateway

import (
	"bytes"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Content codings (RFC 9110 §8.4.1), that first which makes feeds smallest: of several that a reader
// likes as well, it gets the first.
const (
	codedBrotli = iota
	codedZstd
	codedGzip
	codingCount
)

var codings = [codingCount]struct {
	name   string
	header []string // what Content-Encoding is
	encode func(body []byte) []byte
}{
	codedBrotli: {"br", []string{"br"}, encodeBrotli},
	codedZstd:   {"zstd", []string{"zstd"}, func(body []byte) []byte { return zstdEncoder().EncodeAll(body, nil) }},
	codedGzip:   {"gzip", []string{"gzip"}, encodeGzip},
}

const (
	// minCoded is the size in bytes from which compression is tried: less fits into a packet.
	minCoded = 1 << 10
	// brotliQuality of 11 takes ten times longer than 5, and makes feeds a tenth smaller.
	brotliQuality = 5
	// zstdWindow is what every reader has to be able to hold, in bytes (RFC 9659 §3).
	zstdWindow = 8 << 20
)

// Each gives the same bytes every time: in several processes, versions have the same tags.

func encodeBrotli(body []byte) []byte {
	var b bytes.Buffer
	w := brotli.NewWriterOptions(&b, brotli.WriterOptions{Quality: brotliQuality})
	w.Write(body) // a buffer takes all
	w.Close()
	return bytes.Clone(b.Bytes())
}

func encodeGzip(body []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b) // with a zero time
	w.Write(body)
	w.Close()
	return bytes.Clone(b.Bytes())
}

// zstdEncoder is made for good, when it is first needed: it takes some megabytes.
var zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // only for options that there are not
	}
	return e
})
