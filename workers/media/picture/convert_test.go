package picture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/color"
	"image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// converter is this machine's, or the test is skipped.
func converter(t *testing.T) *Converter {
	t.Helper()
	c := FindConverter("vipsthumbnail")
	if c == nil {
		t.Skip("vipsthumbnail is not installed")
	}
	c.dir = t.TempDir()
	return c
}

func testFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestHEICAndAVIFAreConverted(t *testing.T) {
	c := converter(t)
	for _, name := range []string{"card.heic", "card.avif"} {
		data := testFile(t, name)
		if !NeedsConversion(data) {
			t.Errorf("%s is not recognised", name)
		}
		made, err := c.JPEG(t.Context(), data, Limits{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p := open(t, made)
		if p.Format != JPEG || p.Width != 600 || p.Height != 400 {
			t.Errorf("%s became %s of %d x %d", name, p.Format, p.Width, p.Height)
		}
		img, err := jpeg.Decode(bytes.NewReader(made))
		if err != nil {
			t.Fatal(err)
		}
		near(t, name+", the white corner", img.At(100, 60), color.NRGBA{255, 255, 255, 255})
	}
	if left, _ := os.ReadDir(c.dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestWithoutConverterTheRefusalSaysWhatIsMissing(t *testing.T) {
	var c *Converter = FindConverter("no-such-program")
	_, err := c.JPEG(t.Context(), testFile(t, "card.heic"), Limits{})
	wantRefused(t, err, "HEIC can be read where vipsthumbnail (libvips) is installed, which it is not here")
}

func TestConverterRefusesByTheHeader(t *testing.T) {
	for name, limits := range map[string]Limits{
		"240000 pixels, at most 1000":    {Pixels: 1000},
		"600 pixels a side, at most 500": {Side: 500},
	} {
		// The program would fail: it is not asked.
		_, err := (&Converter{program: "/no/such/program", dir: t.TempDir()}).JPEG(t.Context(), testFile(t, "card.avif"), limits)
		wantRefused(t, err, name)
	}
}

func TestWhatCannotBeConvertedIsRefused(t *testing.T) {
	c := converter(t)
	data := bytes.Clone(testFile(t, "card.heic"))
	for i := len(data) - 200; i < len(data); i++ {
		data[i] ^= 0x5a
	}
	for name, data := range map[string][]byte{"damaged": data[:len(data)-100], "cut": data[:300]} {
		_, err := c.JPEG(t.Context(), data, Limits{})
		if r := (*RefusedError)(nil); !errors.As(err, &r) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// script is a converter that does what is written here.
func script(t *testing.T, lines string) *Converter {
	t.Helper()
	name := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+lines), 0o700); err != nil {
		t.Fatal(err)
	}
	return &Converter{program: name, dir: t.TempDir()}
}

func TestConverterIsEndedWithAllThatItStarted(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "alive")
	c := script(t, "(sleep 3; touch "+mark+") & sleep 60")
	start := time.Now()
	_, err := c.JPEG(t.Context(), testFile(t, "card.heic"), Limits{Time: time.Second})
	wantRefused(t, err, "converting HEIC takes more than 1s")
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.JPEG(ctx, testFile(t, "card.heic"), Limits{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("when its caller goes: %v", err)
	}
	if out, _ := exec.Command("pgrep", "-f", mark).Output(); len(out) > 0 {
		t.Errorf("still running: %s", out)
	}
}

func TestConverterIsHeldByItsLimits(t *testing.T) {
	for lines, says := range map[string]string{
		"while :; do :; done":                   "", // processor time, or the time in all
		"head -c 300000000 /dev/zero > out.jpg": "cannot be converted",
		"ulimit -v >&2; ulimit -c >&2; exit 1":  "2097152 0",
		"env | grep -c SECRET >&2; exit 1":      "exit status 1 0",
		"ls /no-such >&2; exit 3":               "exit status 3",
		"exit 0":                                "cannot be converted",
	} {
		t.Setenv("SECRET", "of the parent")
		limit := 30 * time.Second
		if says == "" {
			limit = 2 * time.Second
		}
		_, err := script(t, lines).JPEG(t.Context(), testFile(t, "card.avif"), Limits{Time: limit})
		wantRefused(t, err, says)
		if strings.Contains(err.Error(), "of the parent") {
			t.Error("it was told the environment")
		}
	}
}

func TestConverterIsAloneWhereTheSystemLetsIt(t *testing.T) {
	probe := exec.Command("/bin/true")
	probe.SysProcAttr = processAlone(true)
	if err := probe.Run(); err != nil {
		t.Skipf("the system does not let it: %v", err)
	}
	_, err := script(t, "echo process $$ >&2; exit 1").JPEG(t.Context(), testFile(t, "card.heic"), Limits{})
	wantRefused(t, err, "process 1")
}

func TestConverterSweepsWhatWasLeftBehind(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	old, busy := filepath.Join(os.TempDir(), workplace+"1"), filepath.Join(os.TempDir(), workplace+"2")
	for _, dir := range []string{old, busy} {
		if err := os.MkdirAll(filepath.Join(dir, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	then := time.Now().Add(-2 * abandoned)
	if err := os.Chtimes(old, then, then); err != nil {
		t.Fatal(err)
	}
	FindConverter("/bin/true")
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old one is there: %v", err)
	}
	if _, err := os.Stat(busy); err != nil {
		t.Error(err)
	}
}

func TestConverterSeesNoFilesButItsOwn(t *testing.T) {
	if !confines() {
		t.Skip("the kernel cannot confine it")
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("mật khẩu"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, lines := range map[string]string{
		"another file":      "cat " + secret + " >&2; exit 1",
		"a directory":       "ls / >&2; exit 1",
		"a new file":        "echo x > " + secret + ".new; exit 1",
		"its parent's":      "cat /proc/$PPID/environ /proc/" + fmt.Sprint(os.Getpid()) + "/environ >&2; exit 1",
		"its parent's root": "cat /proc/" + fmt.Sprint(os.Getpid()) + "/root" + secret + " >&2; exit 1",
	} {
		_, err := script(t, lines).JPEG(t.Context(), testFile(t, "card.heic"), Limits{})
		refusal := wantRefused(t, err, "")
		if says := strings.ToLower(refusal.Error()); !strings.Contains(says, "denied") && !strings.Contains(says, "no such file") || strings.Contains(says, "mật khẩu") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// This process is not confined with it.
	if _, err := os.ReadFile(secret); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(secret + ".new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the new file: %v", err)
	}
}
