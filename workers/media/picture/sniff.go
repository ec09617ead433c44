package picture

import (
	"bytes"
	"net/http"
)

// sniff tells the format from a file's first bytes. The name and the Content-Type that it
// came with are not asked: they are often wrong, and sometimes lies.
func sniff(data []byte) (Format, error) {
	switch {
	case len(data) == 0:
		return "", refused("empty file")
	case bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		return JPEG, nil
	case bytes.HasPrefix(data, []byte(pngSignature)):
		return PNG, nil
	case bytes.HasPrefix(data, []byte("GIF87a")), bytes.HasPrefix(data, []byte("GIF89a")):
		return GIF, nil
	case len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP":
		return WebP, nil
	}
	return "", refused("format %s; JPEG, PNG, WebP or GIF required", kind(data))
}

// sniffLen is how far into a text the tell-tale tag is looked for, in bytes: behind an XML
// declaration, a licence comment and a DOCTYPE.
const sniffLen = 4 << 10

// kind names what is not taken, so that an editor knows what to change.
func kind(data []byte) string {
	head := bytes.ToLower(data[:min(len(data), sniffLen)])
	if len(data) >= 12 && string(data[4:8]) == "ftyp" {
		switch string(data[8:12]) {
		case "avif", "avis":
			return "AVIF"
		case "heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1":
			return "HEIC"
		}
		return "video"
	}
	switch {
	case bytes.Contains(head, []byte("<svg")):
		return "SVG"
	case bytes.Contains(head, []byte("<html")), bytes.Contains(head, []byte("<!doctype html")):
		return "HTML page"
	case bytes.HasPrefix(head, []byte("%pdf-")):
		return "PDF"
	case bytes.HasPrefix(data, []byte("II*\x00")), bytes.HasPrefix(data, []byte("MM\x00*")):
		return "TIFF"
	case bytes.HasPrefix(data, []byte("\xff\x0a")), bytes.HasPrefix(data, []byte("\x00\x00\x00\x0cJXL ")):
		return "JPEG XL"
	case bytes.HasPrefix(data, []byte("\x00\x00\x00\x0cjP  ")):
		return "JPEG 2000"
	}
	return http.DetectContentType(data)
}
