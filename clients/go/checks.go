package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

func (s suite) checks() []check {
	all := []check{
		{"chat", s.chat}, {"stream", s.stream}, {"stream_usage", s.streamUsage}, {"tools", s.toolCall}, {"json_schema", s.schema},
		{"embeddings", s.embeddings}, {"models", s.models}, {"model", s.oneModel}, {"bad_key", s.badKey},
		{"unknown_model", s.unknownModel}, {"bad_body", s.badBody},
	}
	if s.denied != "" {
		all = append(all, check{"denied", s.deniedModel})
	}
	return all
}

func (s suite) hello() openai.ChatCompletionNewParams {
	return ask(s.model, "hi there")
}

func ask(model, text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:     model,
		Messages:  []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)},
		MaxTokens: openai.Int(64),
	}
}

func (s suite) chat(ctx context.Context) error {
	r, err := s.client.Chat.Completions.New(ctx, s.hello())
	if err != nil {
		return err
	}
	if len(r.Choices) != 1 || r.Choices[0].Message.Content == "" || r.Usage.CompletionTokens == 0 {
		return fmt.Errorf("no answer or no usage in %s", r.RawJSON())
	}
	return nil
}

func (s suite) stream(ctx context.Context) error {
	st := s.client.Chat.Completions.NewStreaming(ctx, s.hello())
	defer st.Close()
	var sum openai.ChatCompletionAccumulator
	events := 0
	for st.Next() {
		events++
		if len(st.Current().Choices) == 0 {
			return fmt.Errorf("a usage chunk that nobody asked for: %s", st.Current().RawJSON())
		}
		if !sum.AddChunk(st.Current()) {
			return fmt.Errorf("chunk %d does not belong to the stream", events)
		}
	}
	if err := st.Err(); err != nil {
		return err
	}
	if events < 2 || sum.Choices[0].Message.Content == "" || sum.Choices[0].FinishReason == "" {
		return fmt.Errorf("%d events, finish reason %q", events, sum.Choices[0].FinishReason)
	}
	return nil
}

func (s suite) streamUsage(ctx context.Context) error {
	p := s.hello()
	p.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
	st := s.client.Chat.Completions.NewStreaming(ctx, p)
	defer st.Close()
	var tokens int64
	for st.Next() {
		tokens = max(tokens, st.Current().Usage.CompletionTokens)
	}
	if err := st.Err(); err != nil {
		return err
	}
	if tokens == 0 {
		return errors.New("no usage chunk")
	}
	return nil
}

func (s suite) toolCall(ctx context.Context) error {
	p := ask(s.tools, "What is the weather in Paris?")
	p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
		Name: "get_weather",
		Parameters: openai.FunctionParameters{
			"type":       "object",
			"properties": map[string]any{"city": map[string]any{"type": "string"}},
			"required":   []string{"city"},
		},
	})}
	p.ToolChoice = openai.ToolChoiceOptionFunctionToolChoice(openai.ChatCompletionNamedToolChoiceFunctionParam{Name: "get_weather"})
	r, err := s.client.Chat.Completions.New(ctx, p)
	if err != nil {
		return err
	}
	calls := r.Choices[0].Message.ToolCalls
	if len(calls) == 0 || calls[0].Function.Name != "get_weather" {
		return fmt.Errorf("no call of get_weather in %s", r.RawJSON())
	}
	var in map[string]any
	if err := json.Unmarshal([]byte(calls[0].Function.Arguments), &in); err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	if _, ok := in["city"]; !ok {
		return fmt.Errorf("no city in %v", in)
	}
	return nil
}

func (s suite) schema(ctx context.Context) error {
	p := ask(s.model, "Extract the city: I live in Paris.")
	p.ResponseFormat = openai.ChatCompletionNewParamsResponseFormatUnion{
		OfJSONSchema: &openai.ResponseFormatJSONSchemaParam{JSONSchema: openai.ResponseFormatJSONSchemaJSONSchemaParam{
			Name: "place", Strict: openai.Bool(true),
			Schema: map[string]any{
				"type": "object",
				"properties": map[string]any{
					"city":    map[string]any{"type": "string", "enum": []string{"Paris", "London"}},
					"capital": map[string]any{"type": "boolean"},
				},
				"required": []string{"city", "capital"}, "additionalProperties": false,
			},
		}},
	}
	r, err := s.client.Chat.Completions.New(ctx, p)
	if err != nil {
		return err
	}
	var place struct {
		City    string `json:"city"`
		Capital *bool  `json:"capital"`
	}
	if err := json.Unmarshal([]byte(r.Choices[0].Message.Content), &place); err != nil {
		return fmt.Errorf("answer %q: %w", r.Choices[0].Message.Content, err)
	}
	if place.City == "" || place.Capital == nil {
		return fmt.Errorf("answer %q does not fit the schema", r.Choices[0].Message.Content)
	}
	return nil
}

func (s suite) embeddings(ctx context.Context) error {
	r, err := s.client.Embeddings.New(ctx, openai.EmbeddingNewParams{
		Model: s.embed, Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"one", "two"}},
	})
	if err != nil {
		return err
	}
	if len(r.Data) != 2 || r.Data[1].Index != 1 || len(r.Data[0].Embedding) < 9 {
		return fmt.Errorf("%d vectors", len(r.Data))
	}
	return nil
}

func (s suite) models(ctx context.Context) error {
	page, err := s.client.Models.List(ctx)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, m := range page.Data {
		seen[m.ID] = true
	}
	if !seen[s.model] || !seen[s.embed] {
		return fmt.Errorf("models %v", seen)
	}
	return nil
}

func (s suite) oneModel(ctx context.Context) error {
	m, err := s.client.Models.Get(ctx, s.model)
	if err != nil {
		return err
	}
	if m.ID != s.model {
		return fmt.Errorf("id %q", m.ID)
	}
	return nil
}

func (s suite) badKey(ctx context.Context) error {
	_, err := s.client.Chat.Completions.New(ctx, s.hello(), option.WithAPIKey("slc_nobody_0000000000000000"))
	return status(err, 401, "invalid_api_key")
}

func (s suite) unknownModel(ctx context.Context) error {
	_, err := s.client.Chat.Completions.New(ctx, ask(s.badID, "hi"))
	return status(err, 404, "model_not_found")
}

func (s suite) badBody(ctx context.Context) error {
	body := fmt.Appendf(nil, `{"model":%q,"messages":[],"mod\u0065l":"other"}`, s.model)
	_, err := s.client.Chat.Completions.New(ctx, s.hello(), option.WithRequestBody("application/json", body))
	return status(err, 400, "")
}

func (s suite) deniedModel(ctx context.Context) error {
	_, err := s.client.Chat.Completions.New(ctx, ask(s.denied, "hi"), option.WithHeader("x-data-class", "private"))
	return status(err, 403, "policy_denied")
}
