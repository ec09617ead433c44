package events

import "time"

// SetAttemptTimeout shortens a publisher's attempts, for tests that wait for one to end.
func SetAttemptTimeout(p *Publisher, d time.Duration) { p.attempt = d }
