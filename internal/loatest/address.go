package loatest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
)

const (
	// firstPort to lastPort are outside of the ports that the kernel gives to others by itself.
	firstPort, lastPort = 20_000, 32_000
	// blockPorts is how many ports a process has for itself: more than are given out at once.
	blockPorts = 200
)

// block is a range of ports that this process has for itself: it listens on the first of them for as
// long as it lives.
type block struct {
	guard net.Listener
	first int

	mu   sync.Mutex
	next int
}

var ports = sync.OnceValues(func() (*block, error) {
	for {
		first := firstPort + blockPorts*rand.IntN((lastPort-firstPort)/blockPorts)
		l, err := listen(first)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		return &block{guard: l, first: first}, err
	}
})

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
}

// Address is one of loopback that is free now, and that nobody else is given soon: a process that is
// started again finds it free again.
func Address(t testing.TB) string {
	t.Helper()
	b, err := ports()
	for err == nil {
		b.mu.Lock()
		b.next = b.next%(blockPorts-1) + 1
		port := b.first + b.next
		b.mu.Unlock()
		var l net.Listener
		if l, err = listen(port); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			err = nil
		}
	}
	t.Fatal(err)
	return ""
}
