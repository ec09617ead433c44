package faultproxy

import (
	"net"
	"sync"
	"testing"
)

// Link is a connection, of any protocol over TCP, that can break in the ways in which networks
// do: at once and for all to see, or in silence.
type Link struct {
	// Addr is the host:port to connect to in the server's place.
	Addr string

	endpoint string
	all      sync.WaitGroup

	mu    sync.Mutex
	moved *sync.Cond // the state changed
	state linkState
	epoch int               // connections of an earlier one are forgotten
	conns map[net.Conn]bool // both ends of each connection
}

type linkState int

const (
	linkUp     linkState = iota
	linkSilent           // what is sent waits, unacknowledged by anybody
	linkCut              // connections are closed, and new ones as soon as they are made
	linkEnded
)

// StartLink starts a link to the server at endpoint, a host:port. It ends with the test.
func StartLink(t testing.TB, endpoint string) *Link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Link{Addr: listener.Addr().String(), endpoint: endpoint, conns: map[net.Conn]bool{}}
	l.moved = sync.NewCond(&l.mu)
	l.all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			l.all.Go(func() { l.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		l.set(linkEnded)
		l.all.Wait()
	})
	return l
}

// Cut closes the connections, and refuses new ones.
func (l *Link) Cut() { l.set(linkCut) }

// Silence keeps the connections open, and new ones too, but lets nothing through: both ends
// have to find out by themselves.
func (l *Link) Silence() { l.set(linkSilent) }

// Forget lets nothing more through on the connections that there are, without closing them, as a
// firewall does that has forgotten them. New ones are as usual.
func (l *Link) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch++
}

// Restore lets everything through again, also what was sent meanwhile.
func (l *Link) Restore() { l.set(linkUp) }

func (l *Link) set(s linkState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = s
	if s == linkCut || s == linkEnded {
		for c := range l.conns {
			c.Close()
		}
	}
	l.moved.Broadcast()
}

// passes waits while the link is silent, or has forgotten the connection, and reports whether it
// is up.
func (l *Link) passes(epoch int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.state == linkSilent || l.state == linkUp && epoch != l.epoch {
		l.moved.Wait()
	}
	return l.state == linkUp
}

// add notes an end of a connection, so that it can be closed; it is closed now if the link is cut.
// It gives the present epoch.
func (l *Link) add(c net.Conn) (epoch int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = true
	if l.state == linkCut || l.state == linkEnded {
		c.Close()
	}
	return l.epoch
}

func (l *Link) remove(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.Close()
	delete(l.conns, c)
}

func (l *Link) serve(client net.Conn) {
	epoch := l.add(client)
	defer l.remove(client)
	server, err := net.Dial("tcp", l.endpoint)
	if err != nil {
		return
	}
	l.add(server)
	defer l.remove(server)
	var both sync.WaitGroup
	both.Go(func() { l.pass(server, client, epoch) })
	both.Go(func() { l.pass(client, server, epoch) })
	both.Wait()
}

// pass copies from one end to the other until either closes.
func (l *Link) pass(to, from net.Conn, epoch int) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !l.passes(epoch) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
