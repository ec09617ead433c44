// Package cluster runs three nats-servers on loopback, each a process of its own that syncs every
// write, joined to one JetStream. Nodes can be killed, stopped, started again, and made to hang.
//
// A node is the test binary again, so the tests' TestMain begins with [Main]:
//
//	func TestMain(m *testing.M) {
//		cluster.Main()
//		os.Exit(m.Run())
//	}
//
//	c := cluster.Start(t)
//	c.Leader(t, streams.Flags).Kill()
package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/embedded"
	"github.com/loa-syndication/loa/internal/loatest"
	"github.com/loa-syndication/loa/internal/loatest/child"
)

const (
	// Size is how many nodes a cluster has: one may be missing.
	Size = 3
	// patience is how long a node may take to start, or to catch up with the others.
	patience = 60 * time.Second
	// apiTimeout outlasts an election, which takes 4 to 7 s.
	apiTimeout = 15 * time.Second
	// pingEvery and pingsLost have a client leave a node that hangs within some seconds.
	pingEvery = time.Second
	pingsLost = 3
	// look is the pause between two looks at the state of the cluster.
	look = 20 * time.Millisecond
	// configuration is the environment variable that makes the test binary a node.
	configuration = "LOA_TEST_NATS_NODE"
)

// Main runs a node in this process, until it is ended, if it was started to be one.
func Main() {
	file := os.Getenv(configuration)
	if file == "" {
		return
	}
	opts, err := server.ProcessConfigFile(file)
	if err == nil {
		var s *server.Server
		if s, err = server.NewServer(opts); err == nil {
			s.ConfigureLogger()
			s.Start()
			s.WaitForShutdown()
			os.Exit(0)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// Cluster is three nodes.
type Cluster struct {
	Nodes []*Node
	// Users may connect to each of them.
	Users embedded.Credentials
}

// Node is one of them.
type Node struct {
	Name string
	// Addr is its host:port for clients, the same after every start.
	Addr string

	config, log string // files
	process     *child.Process
}

// Start starts a cluster, and returns when it can hold a stream on three nodes.
func Start(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{Users: embedded.Credentials{
		Loa: embedded.Login{Name: embedded.UserLoa, Secret: "loa-" + embedded.Secret(nats.NewInbox())},
		CMS: embedded.Login{Name: embedded.UserCMS, Secret: "cms-" + embedded.Secret(nats.NewInbox())},
	}}
	dir := t.TempDir()
	var routes []string
	for i := range Size {
		name := fmt.Sprint("n", i+1)
		c.Nodes = append(c.Nodes, &Node{Name: name, Addr: loatest.Address(t), config: filepath.Join(dir, name+".conf"), log: filepath.Join(dir, name+".log")})
		routes = append(routes, loatest.Address(t))
	}
	for i, n := range c.Nodes {
		// Clients are not told of the other nodes: who connects through a proxy is to stay there.
		text := fmt.Sprintf(`
server_name: %s
listen: %q
logfile: %q
max_payload: %d
jetstream { store_dir: %q, sync_interval: always, max_mem: 256MB, max_file: 64GB }
cluster { name: loa, listen: %q, no_advertise: true, routes: ["nats://%s"] }
authorization { users: [
	{ user: %q, password: %q }
	{ user: %q, password: %q, permissions: { publish: "loa.event.>", subscribe: "_INBOX.>" } }
] }
`, n.Name, n.Addr, n.log, embedded.MaxPayload, filepath.Join(dir, n.Name), routes[i], strings.Join(routes, `", "nats://`),
			c.Users.Loa.Name, c.Users.Loa.Secret.Reveal(), c.Users.CMS.Name, c.Users.CMS.Secret.Reveal())
		if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		n.Start(t)
		t.Cleanup(func() { n.explain(t) })
	}
	js := c.JetStream(t)
	probe := jetstream.StreamConfig{Name: "PROBE", Subjects: []string{"probe"}, Storage: jetstream.MemoryStorage, Replicas: Size}
	c.eventually(t, "the cluster has found itself", func() error {
		_, err := js.CreateStream(t.Context(), probe)
		return err
	})
	if err := js.DeleteStream(t.Context(), probe.Name); err != nil {
		t.Fatal(err)
	}
	return c
}

// URL names all nodes, for clients.
func (c *Cluster) URL() string {
	var all []string
	for _, n := range c.Nodes {
		all = append(all, "nats://"+n.Addr)
	}
	return strings.Join(all, ",")
}

// JetStream is a patient connection of the user loa, which ends with the test.
func (c *Cluster) JetStream(t testing.TB) jetstream.JetStream {
	t.Helper()
	return c.connect(t, c.Users.Loa)
}

// CMS is a patient connection of the user cms.
func (c *Cluster) CMS(t testing.TB) jetstream.JetStream {
	t.Helper()
	return c.connect(t, c.Users.CMS)
}

func (c *Cluster) connect(t testing.TB, login embedded.Login) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(c.URL(), append(login.Options(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.RetryOnFailedConnect(true),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingsLost))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(apiTimeout))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// Leader is the node that leads a stream. It waits while there is none.
func (c *Cluster) Leader(t testing.TB, stream string) (leader *Node) {
	t.Helper()
	js := c.JetStream(t)
	defer js.Conn().Close()
	c.eventually(t, "stream "+stream+" has a leader", func() error {
		s, err := js.Stream(t.Context(), stream)
		if err != nil {
			return err
		}
		for _, n := range c.Nodes {
			if state := s.CachedInfo().Cluster; state != nil && state.Leader == n.Name {
				leader = n
				return nil
			}
		}
		return errors.New("none of the nodes")
	})
	return leader
}

// Whole waits until every node is there and holds all of every stream: another may be lost.
func (c *Cluster) Whole(t testing.TB) {
	t.Helper()
	js := c.JetStream(t)
	defer js.Conn().Close()
	c.eventually(t, "every node has caught up", func() error {
		list := js.ListStreams(t.Context())
		for s := range list.Info() {
			if s.Cluster == nil || s.Cluster.Leader == "" || len(s.Cluster.Replicas) != s.Config.Replicas-1 {
				return fmt.Errorf("stream %s: %+v", s.Config.Name, s.Cluster)
			}
			for _, peer := range s.Cluster.Replicas {
				if !peer.Current || peer.Offline {
					return fmt.Errorf("stream %s: %+v", s.Config.Name, peer)
				}
			}
		}
		return list.Err()
	})
}

func (c *Cluster) eventually(t testing.TB, what string, try func() error) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(look) {
		err := try()
		if err == nil {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("waited %s in vain until %s: %v", patience, what, err)
		}
	}
}

// Start starts a node that does not run, on what it had stored.
func (n *Node) Start(t testing.TB) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), configuration+"="+n.config)
	cmd.Stderr = os.Stderr
	n.process = child.Start(t, cmd)
	for began := time.Now(); ; time.Sleep(look) {
		conn, err := net.Dial("tcp", n.Addr)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-n.process.Ended():
			t.Fatalf("node %s ended with %v", n.Name, cmd.ProcessState)
		default:
		}
		if time.Since(began) > patience {
			t.Fatalf("node %s takes no connections after %s: %v", n.Name, patience, err)
		}
	}
}

// Kill ends the node by SIGKILL.
func (n *Node) Kill() { n.process.Kill() }

// Stop ends it in order.
func (n *Node) Stop() {
	n.process.Signal(syscall.SIGTERM)
	<-n.process.Ended()
}

// Pause makes it hang, with its connections open, until Resume.
func (n *Node) Pause() { n.process.Pause() }

// Resume lets it go on.
func (n *Node) Resume() { n.process.Resume() }

// explain shows the end of the node's log if the test failed.
func (n *Node) explain(t testing.TB) {
	if !t.Failed() {
		return
	}
	const most = 4 << 10 // bytes
	text, err := os.ReadFile(n.log)
	t.Logf("%s's last words (%v):\n%s", n.Name, err, text[max(len(text)-most, 0):])
}
