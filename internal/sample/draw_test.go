package sample

import (
	"bytes"
	"runtime"
	"testing"
)

func TestDrawingIsTheSameOnAnyNumberOfProcessors(t *testing.T) {
	s := scene{seed: 31, light: dusk, aspect: 1.5, horizon: .6, clouds: .5, hills: 3, skyline: .2, bridge: true, lamps: 9}
	draw := func() []byte { return encodeJPEG(develop(s.paint(100), 300, 200, s.seed), nil) }
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	one := draw()
	runtime.GOMAXPROCS(4)
	if !bytes.Equal(one, draw()) {
		t.Error("two drawings of one scene differ")
	}
}
