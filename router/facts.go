package router

import (
	"errors"
	"time"

	"github.com/sluice-gateway/sluice/llm"
	"github.com/sluice-gateway/sluice/policies"
)

// Input is one request as the router sees it. Zero fields are absent facts, not errors.
type Input struct {
	Envelope *llm.Envelope // nil for a body that Sluice does not read
	Path     string
	Method   string
	Header   func(lowerName string) string
	Model    string // what the client asked for, when there is no envelope
	Bytes    int    // of the body, when there is no envelope
	Unread   bool   // there is a body, and it goes up unread but for a form's model
	Key      *policies.Key
	Route    *policies.Route

	// Usable says whether a model can be asked now, else why not and when it may be again. nil: every model can.
	Usable func(*policies.Model) (ok bool, why string, after time.Duration)
	Pool   func(name string) policies.PoolFacts
	// Pace tells what has been seen of a model lately, for quality_value. nil: nothing has.
	Pace   func(*policies.Model) policies.ModelPace
	Budget policies.BudgetFacts
	// BudgetErr says that the budget's state could not be had.
	BudgetErr error
	// Lowest leaves the lowest tier that may answer and nothing beyond it: a budget is used up. A tool's result still goes to the model that called
	// the tool.
	Lowest bool
	// Session replaces what the router remembers of the conversation: an offline explanation has no memory.
	Session *policies.SessionFacts
	// Conversation is what [Router.Conversation] returned for this request; nil = it was not asked.
	Conversation *Conversation
	Now          time.Time
	Explain      bool // trace every boundary and rule with its values
}

// errUnjudged is that of a request whose route asks nothing of its prompt.
var errUnjudged = errors.New("nothing in the policy depends on what the prompt asks for")

// errNoPrompt is the missing evidence of a request that has no words to classify.
var errNoPrompt = errors.New("the request has no prompt that could be classified")

// errUnread is the missing evidence of a body that nobody looks into.
var errUnread = errors.New("the body is streamed unread")

// PolicyFacts fills what expressions may read of a request, all but the task and the session.
func PolicyFacts(in *Input, c *Content) policies.Facts {
	f := policies.Facts{Pool: in.Pool, Now: in.Now, Budget: in.Budget, BudgetErr: in.BudgetErr, TaskErr: errNoPrompt}
	f.Req = policies.Req{Model: in.Model, Path: in.Path, Method: in.Method, Header: in.Header, Bytes: in.Bytes, Op: llm.OpOpaque.String(), N: 1, Language: policies.Guess{Text: c.Prompt.Text, By: Language}}
	if in.Unread {
		f.BodyErr = errUnread
	}
	if in.Header == nil {
		f.Req.Header = func(string) string { return "" }
	}
	if in.Key != nil {
		f.Key = policies.KeyFacts{ID: in.Key.ID, Labels: in.Key.Labels}
		if in.Key.Tenant != nil {
			f.Key.Tenant = in.Key.Tenant.Name
		}
	}
	e := in.Envelope
	if e == nil {
		return f
	}
	r := &f.Req
	r.Model, r.Op, r.Bytes = e.Model, e.Op.String(), len(e.Body)
	r.Tokens, r.MaxTokens = e.PromptTokens(), e.MaxTokens
	r.Turns, r.Messages = c.Prompt.Turns, len(e.Turns)
	r.Tools, r.Images, r.Audio, r.Files = e.Tools, e.Images, e.Audio, e.Files
	r.N, r.Stream, r.JSON, r.Logprobs = max(1, e.N), e.Stream, e.JSON, e.Logprobs
	r.Needs = policies.Needs{
		Chat: e.Op == llm.OpChat, Completions: e.Op == llm.OpCompletions, Embeddings: e.Op == llm.OpEmbeddings,
		Tools: e.Tools > 0, JSON: e.JSON, Vision: e.Images > 0, Audio: e.Audio > 0, Files: e.Files > 0, Logprobs: e.Logprobs,
	}
	return f
}

// tenant returns the key's tenant, nil without one.
func (in *Input) tenant() *policies.Tenant {
	if in.Key == nil {
		return nil
	}
	return in.Key.Tenant
}
