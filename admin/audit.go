package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/tenants"
)

// Audit is the append-only log of what was done through the admin listener: one JSON object a line. A nil log keeps nothing.
type Audit struct {
	log *slog.Logger

	mu  sync.Mutex
	out io.WriteCloser // nil = the process's log only
}

// auditFile is the log's file in the state folder.
const auditFile = "audit.jsonl"

// OpenAudit appends to the log in a folder; without one, entries go to the process's log only.
func OpenAudit(dir string, log *slog.Logger) (*Audit, error) {
	a := &Audit{log: log}
	if dir == "" {
		return a, nil
	}
	f, err := os.OpenFile(filepath.Join(dir, auditFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	a.out = f
	return a, nil
}

// Close closes the file.
func (a *Audit) Close() error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.out == nil {
		return nil
	}
	err := a.out.Close()
	a.out = nil
	return err
}

// auditEntry is one line: who did what to what, and how it was answered.
type auditEntry struct {
	Time   time.Time `json:"time"`
	By     string    `json:"by"` // id of the admin key; "" = the listener asks for none
	Role   string    `json:"role"`
	Method string    `json:"method"`
	Path   string    `json:"path"`             // the endpoint's, without what the caller put into it
	Target string    `json:"target,omitempty"` // what it was done to
	Status int       `json:"status"`
	Peer   string    `json:"peer"`
}

func (a *Audit) add(e *auditEntry) {
	if a == nil {
		return
	}
	a.log.Info("audit", "by", e.By, "role", e.Role, "method", e.Method, "path", e.Path, "target", e.Target, "status", e.Status, "peer", e.Peer)
	line, err := json.Marshal(e)
	if err != nil {
		return // it holds texts and numbers
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.out == nil {
		return
	}
	if _, err := a.out.Write(append(line, '\n')); err != nil {
		a.log.Error("the audit log cannot be written", "error", err)
	}
}

// actor is who asks, and what is asked to be done to what: for the audit log.
type actor struct {
	id     string
	role   tenants.Role
	target string
}

type actorKey struct{}

// note tells the audit log what a request is about. A tenant that the policy does not have is not repeated, nor what can be no id.
func (s *server) note(r *http.Request, tenant, id string) {
	a, ok := r.Context().Value(actorKey{}).(*actor)
	if !ok {
		return
	}
	if a.target = "?"; s.o.Gateway.Snapshot().Policy.Tenants[tenant] != nil {
		a.target = tenant + "/" + tenants.SafeName(id)
	}
}

// noteTarget tells the audit log what a request is about: names of the policy, which the caller has seen to.
func noteTarget(r *http.Request, target string) {
	if a, ok := r.Context().Value(actorKey{}).(*actor); ok {
		a.target = target
	}
}

// audited writes a line for every request that would change something, also where it is refused.
func (s *server) audited(e endpoint, next http.Handler) http.Handler {
	if e.method == http.MethodGet {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, kept := &actor{}, &statusKeeper{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(kept, r.WithContext(context.WithValue(r.Context(), actorKey{}, a)))
		s.o.Audit.add(&auditEntry{Time: time.Now(), By: a.id, Role: a.role.String(), Method: e.method, Path: e.path, Target: a.target, Status: kept.status, Peer: r.RemoteAddr})
	})
}

// statusKeeper remembers the status that was answered.
type statusKeeper struct {
	http.ResponseWriter
	status int
}

// WriteHeader keeps the status.
func (k *statusKeeper) WriteHeader(status int) {
	k.status = status
	k.ResponseWriter.WriteHeader(status)
}

// Unwrap gives http.ResponseController the writer beneath.
func (k *statusKeeper) Unwrap() http.ResponseWriter { return k.ResponseWriter }
