package picture

import "bytes"

const (
	// maxProfile is in bytes. Profiles of displays and cameras are 0.5 to 4 KiB; greater ones
	// describe printing presses, and would outweigh a small rendition.
	maxProfile = 64 << 10
	// iccHeader is the length of a profile's header (ICC.1:2022, §7.2).
	iccHeader = 128
)

// carried is the profile for the renditions, which are RGB: none when the original's is for
// another colour space (CMYK and grey pictures have become RGB), or too large, or is sRGB,
// which is what pictures without a profile are taken for.
func (m *metadata) carried() []byte {
	p := m.icc
	if len(p) < iccHeader || len(p) > maxProfile || string(p[16:20]) != "RGB " || string(p[36:40]) != "acsp" {
		return nil
	}
	if bytes.Contains(p, []byte("sRGB IEC61966-2.1")) {
		return nil
	}
	return p
}
