# The demo: PivotRL end to end on the embedded desk world, in and out of domain, compared with SFT on the same rows.
# Override any setting on the command line (make demo LAMBDA=0.6); the stages from there on run again.

DEMO ?= runs/demo

TRAJECTORIES ?= 128
HOLDOUT      ?= 0.1
K            ?= 8
LAMBDA       ?= 0.9
STEPS        ?= 50
PROMPTS      ?= 24
GROUP        ?= 8
LR           ?= 4e-4
KL           ?= 0.2
SFT_LR       ?= 1e-3
TASKS        ?= 200
MAX_NEW      ?= 64
SEED         ?= 0

demo: $(DEMO)/comparison.md ## Trajectories to a better agent, scored before and after: about 11 minutes on two busy cores
	@cat $<

# A settings file is rewritten only when a setting changed, so it is as old as the last change.
define settings
$(DEMO)/.settings/$(1): FORCE
	@mkdir -p $$(@D)
	@echo '$(2)' | cmp -s - $$@ || echo '$(2)' > $$@
endef
.PHONY: FORCE

EXTRACT_FLAGS := --holdout $(HOLDOUT) --seed $(SEED)
PROFILE_FLAGS := -n $(K) --max-new-tokens $(MAX_NEW) --seed $(SEED)
FILTER_FLAGS  := --max-mean $(LAMBDA)
TRAIN_FLAGS   := --steps $(STEPS) --prompts-per-step $(PROMPTS) --schedule cosine --warmup-steps 3 \
                 --max-new-tokens $(MAX_NEW) --seed $(SEED)
GRPO_FLAGS    := $(TRAIN_FLAGS) --method grpo --group-size $(GROUP) --learning-rate $(LR) --kl-coef $(KL) --truncated zero
SFT_FLAGS     := $(TRAIN_FLAGS) --method sft --learning-rate $(SFT_LR)
EVAL_FLAGS    := --limit $(TASKS) --max-new-tokens $(MAX_NEW) --seed $(SEED)

$(eval $(call settings,desk,-n $(TRAJECTORIES) --seed $(SEED)))
$(eval $(call settings,extract,$(EXTRACT_FLAGS)))
$(eval $(call settings,profile,$(PROFILE_FLAGS)))
$(eval $(call settings,filter,$(FILTER_FLAGS)))
$(eval $(call settings,grpo,$(GRPO_FLAGS)))
$(eval $(call settings,sft,$(SFT_FLAGS)))
$(eval $(call settings,eval,$(EVAL_FLAGS)))

$(DEMO)/trajectories.jsonl: $(DEMO)/.settings/desk | $(INSTALLED)
	$(PIVOTRL) desk -n $(TRAJECTORIES) --seed $(SEED) -o $@

$(DEMO)/candidates.parquet: $(DEMO)/trajectories.jsonl $(DEMO)/.settings/extract
	$(PIVOTRL) extract $< -o $@ $(EXTRACT_FLAGS) --force

$(DEMO)/profile.parquet: $(DEMO)/candidates.parquet $(DEMO)/.settings/profile
	$(PIVOTRL) profile $< -o $@ $(PROFILE_FLAGS) --force

$(DEMO)/pivots.parquet: $(DEMO)/profile.parquet $(DEMO)/.settings/filter
	$(PIVOTRL) filter $< -o $@ $(FILTER_FLAGS) --dropped $(DEMO)/dropped.parquet --force

$(DEMO)/pivotrl/pivotrl.json: $(DEMO)/pivots.parquet $(DEMO)/.settings/grpo
	$(PIVOTRL) train $< -o $(@D) $(GRPO_FLAGS) --force

$(DEMO)/sft/pivotrl.json: $(DEMO)/candidates.parquet $(DEMO)/.settings/sft
	$(PIVOTRL) train $< -o $(@D) $(SFT_FLAGS) --force

$(DEMO)/eval-base.parquet: $(DEMO)/candidates.parquet $(DEMO)/.settings/eval
	$(PIVOTRL) eval desk skills pivots:$< --model desk -o $@ $(EVAL_FLAGS) --force

$(DEMO)/eval-%.parquet: $(DEMO)/%/pivotrl.json $(DEMO)/candidates.parquet $(DEMO)/.settings/eval
	$(PIVOTRL) eval desk skills pivots:$(DEMO)/candidates.parquet --model $(<D) -o $@ $(EVAL_FLAGS) --force

$(DEMO)/comparison.md: $(DEMO)/eval-base.parquet $(DEMO)/eval-sft.parquet $(DEMO)/eval-pivotrl.parquet
	$(PIVOTRL) compare $^ --names base,SFT,PivotRL --in-domain desk --ood skills --format markdown > $@.partial
	@mv $@.partial $@
