package picture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// ConverterMemory is about what converting one picture takes, in bytes, in the other process.
	ConverterMemory = 256 << 20
	// converterAddresses bounds that process's address space, in bytes: twice as much as is
	// used, for libraries and stacks are part of it.
	converterAddresses = 2 << 30
	// converterSide is the greatest side of what it makes, in pixels. Greater pictures are
	// shrunk: no camera that writes HEIC makes them, but the stitching of panoramas.
	converterSide = 10_000
	// converterQuality is that of the JPEG, which is the picture's original from then on.
	converterQuality = 92
	// converterWait is how long after its killing a process's end is waited for.
	converterWait = 2 * time.Second
	// abandoned is the age of a directory whose process was killed: none works that long.
	abandoned = time.Hour
	// maxComplaint is how much of what the process says of a failure is told, in bytes.
	maxComplaint = 300
)

// NeedsConversion reports whether only a [Converter] reads the file: HEIC and AVIF, whose codecs
// there are in C alone.
func NeedsConversion(data []byte) bool {
	k := kind(data)
	return k == "HEIC" || k == "AVIF"
}

// Converter makes JPEG of HEIC and AVIF by libvips' vipsthumbnail. Decoders in C have had holes,
// so each picture has a process of its own: with bounds on memory, processor time and what it
// writes, a directory of its own, an empty environment, and, where the system lets it, without a
// network and without sight of other processes and of files that are not the system's. It ends when
// Loa does.
type Converter struct {
	program string
	dir     string
}

// FindConverter gives the converter of this machine; name is the program's, or its path. It is
// nil where there is none.
func FindConverter(name string) *Converter {
	program, err := exec.LookPath(name)
	if err != nil {
		return nil
	}
	if program, err = filepath.Abs(program); err != nil {
		return nil
	}
	c := &Converter{program: program, dir: os.TempDir()}
	c.sweep()
	return c
}

// workplace begins the names of the directories in which pictures are converted.
const workplace = "loa-picture-"

// sweep removes what was left behind when this process, or one like it, was killed. What it may
// not remove is somebody else's.
func (c *Converter) sweep() {
	dirs, _ := filepath.Glob(filepath.Join(c.dir, workplace+"*")) // the pattern is right
	for _, dir := range dirs {
		if info, err := os.Lstat(dir); err == nil && info.IsDir() && time.Since(info.ModTime()) > abandoned {
			_ = os.RemoveAll(dir)
		}
	}
}

// JPEG makes a JPEG of data, with its colour profile and Exif, upright. What cannot be
// converted, and everything if c is nil, gives a [*RefusedError]; when ctx ends first, its
// error is returned.
func (c *Converter) JPEG(parent context.Context, data []byte, limits Limits) ([]byte, error) {
	what := kind(data)
	if c == nil {
		return nil, refused("%s can be read where vipsthumbnail (libvips) is installed, which it is not here; JPEG, PNG, WebP or GIF required", what)
	}
	limits = limits.withDefaults()
	f := &file{}
	f.width, f.height = heifSize(data)
	if err := f.check(limits); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(c.dir, workplace)
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", what, err)
	}
	defer os.RemoveAll(dir)
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out.jpg")
	if err := os.WriteFile(in, data, 0o600); err != nil {
		return nil, fmt.Errorf("convert %s: %w", what, err)
	}
	ctx, cancel := context.WithTimeout(parent, limits.Time)
	defer cancel()
	complaint, err := c.run(ctx, dir, limits)
	switch {
	case parent.Err() != nil:
		return nil, parent.Err()
	case ctx.Err() != nil:
		return nil, refused("converting %s takes more than %v", what, limits.Time)
	case err != nil:
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return nil, fmt.Errorf("convert %s: run %s: %w", what, c.program, err)
		}
		return nil, refused("%s cannot be converted: %v %s", what, err, complaint)
	}
	made, err := os.ReadFile(out)
	if err != nil { // it ends well without having read anything, too
		return nil, refused("%s cannot be converted: %s", what, complaint)
	}
	return made, nil
}

// limitsScript sets the limits of the process that it becomes: kilobytes, seconds, blocks of 512
// bytes. ("sh" may be one whose blocks have 1024.)
const limitsScript = `ulimit -c 0 && ulimit -v "$1" && ulimit -t "$2" && ulimit -f "$3" && shift 3 && exec "$@"`

func (c *Converter) run(ctx context.Context, dir string, limits Limits) (complaint string, err error) {
	for _, apart := range []bool{true, false} {
		// 4 bytes a pixel are more than any JPEG has.
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", limitsScript, "sh",
			fmt.Sprint(converterAddresses>>10), fmt.Sprint(int64(limits.Time/time.Second)+1), fmt.Sprint(4*limits.Pixels/512),
			c.program, "--size", fmt.Sprintf("%dx%d>", converterSide, converterSide),
			"-o", fmt.Sprintf("out.jpg[Q=%d]", converterQuality), "in")
		cmd.Dir = dir
		cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + dir, "TMPDIR=" + dir,
			"VIPS_CONCURRENCY=1", "VIPS_BLOCK_UNTRUSTED=1",
			"VIPS_NOVECTOR=1", // no code is made while it runs: hardened systems forbid that
			"G_MESSAGES_DEBUG="}
		said := &bytes.Buffer{}
		cmd.Stderr = &clipped{said}
		cmd.SysProcAttr = processAlone(apart)
		// What it may have started ends with it.
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		cmd.WaitDelay = converterWait
		var started bool
		if started, err = runConfined(cmd, c.program, dir); !started {
			continue // the system does not let it be set apart
		}
		return strings.Join(strings.Fields(strings.ToValidUTF8(said.String(), "")), " "), err
	}
	return "", err
}

// clipped keeps the beginning of what is written to it.
type clipped struct{ b *bytes.Buffer }

func (c *clipped) Write(p []byte) (int, error) {
	c.b.Write(p[:min(len(p), maxComplaint-min(c.b.Len(), maxComplaint))])
	return len(p), nil
}

// heifSize is the greatest size that a HEIF file's "ispe" properties name (ISO/IEC 23008-12,
// §6.5.3): that of the picture, since its tiles and thumbnails are smaller.
func heifSize(data []byte) (width, height int) {
	const header = 8 // the property's name, version and flags
	for {
		i := bytes.Index(data, []byte("ispe"))
		if i < 0 || len(data) < i+header+8 {
			return width, height
		}
		w, h := int64(binary.BigEndian.Uint32(data[i+header:])), int64(binary.BigEndian.Uint32(data[i+header+4:]))
		if w < 1<<31 && h < 1<<31 && w*h > int64(width)*int64(height) {
			width, height = int(w), int(h)
		}
		data = data[i+4:]
	}
}
