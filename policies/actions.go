package policies

// The classes of failures, as package llm names them, and what each leads to.
var actions = map[string]Action{
	"client":           {Final: true},
	"auth":             {MoveOn: true, Cooldown: true},
	"quota_hard":       {MoveOn: true, Cooldown: true},
	"throttle":         {SameModel: true, MoveOn: true, Cooldown: true},
	"capacity":         {MoveOn: true, Breaker: true},
	"transient":        {SameModel: true, MoveOn: true, Breaker: true},
	"timeout":          {MoveOn: true, Breaker: true},
	"filtered":         {Final: true},
	"context_overflow": {MoveOn: true, Larger: true},
	"stream_broken":    {SameModel: true, MoveOn: true, Breaker: true},
	"canceled":         {Final: true},
}

// classCauses is the cause that a class stands for when the plane knows no better one.
var classCauses = map[string]string{
	"quota_hard": "429", "throttle": "429", "capacity": "5xx", "transient": "5xx", "timeout": "timeout", "stream_broken": "reset",
}

// ActionFor returns what a failure of the class leads to. A class that is not in the table is the client's.
func ActionFor(class string) Action {
	if a, ok := actions[class]; ok {
		return a
	}
	return Action{Final: true}
}

// Retries reports whether the route makes another attempt after a failure of the class. The cause is what `attempts.on` lists (connect, reset,
// timeout, 429, 5xx, error_event), or "" to take the class's own. Refused credentials and prompts that are too long do not depend on it: they
// move on to whoever can answer.
func (r *Route) Retries(class, cause string) bool {
	a := ActionFor(class)
	if !a.SameModel && !a.MoveOn {
		return false
	}
	switch class {
	case "auth", "context_overflow":
		return true
	}
	if !known(causes, cause) {
		cause = classCauses[class]
	}
	return r.Attempts.On[cause]
}

func known(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}
