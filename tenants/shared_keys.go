package tenants

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-gateway/sluice/internal/redis"
)

const registerKey = redis.Prefix + "register"

// swapScript replaces the register if it still is the version that was read.
var swapScript = redis.NewScript(`
if (redis.call('HGET', KEYS[1], 'version') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'data', ARGV[3])
return 1`)

// errOvertaken stops an amendment that others keep overtaking.
var errOvertaken = errors.New("the register of keys changes too fast: try again")

// overtakes is how often an amendment is tried again.
const overtakes = 20

// Register reads the register, or only its version where that is known. A store that has lost it gets back what this node has seen last.
func (s *Shared) Register(ctx context.Context, known string) (*Register, error) {
	r, err := s.read(ctx, known)
	switch {
	case errors.Is(err, redis.ErrMissing):
		return s.putBack(ctx, known)
	case err != nil && known == "": // a start without the store
		return s.last(), nil
	case err != nil || r == nil:
		return nil, err
	}
	return r, s.saw(r)
}

func (s *Shared) read(ctx context.Context, known string) (r *Register, err error) {
	err = s.rdb.Run(ctx, UseKeys, func(ctx context.Context, cmd redis.Commands) error {
		if known != "" {
			if v, err := cmd.HGet(ctx, registerKey, "version").Result(); err != nil || v == known {
				return err
			}
		}
		data, err := cmd.HGet(ctx, registerKey, "data").Bytes()
		if err != nil {
			return err
		}
		r, err = decodeRegister(data)
		return err
	})
	return r, err
}

// saw keeps a register as the last one seen.
func (s *Shared) saw(r *Register) error {
	s.mu.Lock()
	s.register = r
	s.mu.Unlock()
	return s.mirror.replace(r)
}

func (s *Shared) last() *Register {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.register
}

func (s *Shared) putBack(ctx context.Context, known string) (*Register, error) {
	last := s.last()
	if len(last.Keys)+len(last.Revoked) > 0 {
		next := last.clone()
		if _, err := s.swap(ctx, "", next); err != nil {
			return nil, err
		}
		return s.readAgain(ctx)
	}
	if known != "" && known == last.Version {
		return nil, nil
	}
	return last, nil
}

func (s *Shared) readAgain(ctx context.Context) (*Register, error) {
	r, err := s.read(ctx, "")
	if err != nil {
		return nil, err
	}
	return r, s.saw(r)
}

// swap writes the register if the store still has the version; false = it has another one.
func (s *Shared) swap(ctx context.Context, version string, next *Register) (done bool, err error) {
	b, err := next.encode(time.Now())
	if err != nil {
		return false, err
	}
	err = s.rdb.Run(ctx, UseKeys, func(ctx context.Context, cmd redis.Commands) error {
		n, err := swapScript.Run(ctx, cmd, []string{registerKey}, version, next.Version, b).Int()
		done = n == 1
		return err
	})
	return done, err
}

// Amend changes the register that the store has now: every node sees it when it looks next.
func (s *Shared) Amend(ctx context.Context, edit func(*Register) error) error {
	for range overtakes {
		now, version, err := s.current(ctx)
		if err != nil {
			return err
		}
		next := now.clone()
		if err := edit(next); err != nil {
			return err
		}
		done, err := s.swap(ctx, version, next)
		if err != nil {
			return err
		}
		if done {
			return s.saw(next)
		}
	}
	return errOvertaken
}

// current is the register to amend, and the version that the store must still have.
func (s *Shared) current(ctx context.Context) (r *Register, version string, err error) {
	r, err = s.read(ctx, "")
	switch {
	case errors.Is(err, redis.ErrMissing):
		return s.last(), "", nil
	case err != nil:
		return nil, "", err
	}
	return r, r.Version, nil
}
