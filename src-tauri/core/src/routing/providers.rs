//! Which provider a text names, and under which key an order stands, by release. Facts only:
//! nothing here looks at a profile.

use crate::ids::ProviderId;

use super::RuleSet;

/// The provider whose credentials `text` asks for: trimmed, lower-cased, and with the release's
/// aliases followed. `None` when nothing is left.
///
/// The aliases are those of the release's own bundle and of the plugins that come with it
/// (read and dumped from 2026.2.17, 2026.4.29, 2026.6.1, 2026.6.11, 2026.7.1 and 2026.9.6); plugins that a person adds can bring
/// others, which are not known here.
pub fn normalize_provider(rules: RuleSet, text: &str) -> Option<ProviderId> {
    ProviderId::parse(&auth_key(rules, text))
}

/// Which of the keys of an `order` object OpenClaw reads for this provider: the first that means
/// the provider its aliases lead to, else the first that means the provider as it is written.
/// Aliases of plugins are not followed in the keys themselves.
pub fn order_key<'k>(
    rules: RuleSet,
    provider: &ProviderId,
    keys: impl IntoIterator<Item = &'k str> + Clone,
) -> Option<&'k str> {
    let find = |wanted: String| {
        let found = keys
            .clone()
            .into_iter()
            .find(|key| name_key(rules, key) == wanted);
        found.filter(|_| !wanted.is_empty())
    };
    find(auth_key(rules, provider.as_str())).or_else(|| find(name_key(rules, provider.as_str())))
}

/// The provider as a release spells it, without the aliases of plugins.
pub fn provider_name(rules: RuleSet, text: &str) -> Option<ProviderId> {
    ProviderId::parse(&name_key(rules, text))
}

/// OpenClaw's `normalizeProviderId`: the spelling alone.
pub(super) fn name_key(rules: RuleSet, text: &str) -> String {
    let key = text.trim().to_lowercase();
    let renamed = match rules {
        RuleSet::V2_17 => match key.as_str() {
            "z.ai" | "z-ai" => "zai",
            "opencode-zen" => "opencode",
            "qwen" => "qwen-portal",
            "kimi-code" => "kimi-coding",
            _ => return key,
        },
        RuleSet::V4_29 => match key.as_str() {
            "modelstudio" | "qwencloud" => "qwen",
            "z.ai" | "z-ai" => "zai",
            "opencode-zen" => "opencode",
            "opencode-go-auth" => "opencode-go",
            "kimi-code" | "kimi-coding" => "kimi",
            "bedrock" | "aws-bedrock" => "amazon-bedrock",
            "bytedance" | "doubao" => "volcengine",
            _ => return key,
        },
        RuleSet::V6_1 | RuleSet::V7_1 | RuleSet::V9_6 => return key,
    };
    renamed.to_owned()
}

/// OpenClaw's `resolveProviderIdForAuth`: the spelling, then the aliases of plugin manifests.
/// 2026.2.17 has no such aliases.
pub(super) fn auth_key(rules: RuleSet, text: &str) -> String {
    let key = name_key(rules, text);
    let target = match rules {
        RuleSet::V2_17 => return key,
        RuleSet::V4_29 => match key.as_str() {
            "claude-cli" => "anthropic",
            "byteplus-plan" => "byteplus",
            "minimax-api" | "minimax-cloud" | "minimax-api-lightning" | "minimax-api-key-cn" => "minimax",
            "codex-cli" | "openai-codex-import" => "openai-codex",
            "modelstudio-standard-api-key-cn"
            | "modelstudio-standard-api-key"
            | "modelstudio-api-key-cn"
            | "modelstudio-api-key" => "qwen",
            "volcengine-plan" => "volcengine",
            _ => return key,
        },
        RuleSet::V6_1 => match key.as_str() {
            "claude-cli" => "anthropic",
            "byteplus-plan" => "byteplus",
            "gmi-cloud" | "gmicloud" => "gmi",
            "minimax-cn"
            | "minimax-api"
            | "minimax-cloud"
            | "minimax-api-lightning"
            | "minimax-api-key-cn" => "minimax",
            "minimax-portal-cn" => "minimax-portal",
            "moonshot-ai" | "moonshotai" => "moonshot",
            "novita-ai" | "novitaai" => "novita",
            "qwen-cli" | "qwen-portal" => "qwen-oauth",
            "modelstudio-standard-api-key-cn"
            | "modelstudio-standard-api-key"
            | "modelstudio-api-key-cn"
            | "modelstudio-api-key" => "qwen",
            "volcengine-plan" => "volcengine",
            _ => return key,
        },
        RuleSet::V7_1 => match key.as_str() {
            "claude-cli" => "anthropic",
            "byteplus-plan" => "byteplus",
            "minimax-cn"
            | "minimax-api"
            | "minimax-cloud"
            | "minimax-api-lightning"
            | "minimax-api-key-cn" => "minimax",
            "minimax-portal-cn" => "minimax-portal",
            "novita-ai" | "novitaai" => "novita",
            "volcengine-plan" => "volcengine",
            _ => return key,
        },
        RuleSet::V9_6 => match key.as_str() {
            "claude-cli" => "anthropic",
            "minimax-cn"
            | "minimax-api"
            | "minimax-cloud"
            | "minimax-api-lightning"
            | "minimax-api-key-cn" => "minimax",
            "minimax-portal-cn" => "minimax-portal",
            "x-ai" => "xai",
            _ => return key,
        },
    };
    target.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_follow_the_release() {
        let rows: [(&str, [&str; 5]); 21] = [
            (
                " OpenAI-Codex ",
                [
                    "openai-codex",
                    "openai-codex",
                    "openai-codex",
                    "openai-codex",
                    "openai-codex",
                ],
            ),
            ("OpenAI", ["openai", "openai", "openai", "openai", "openai"]),
            ("z.ai", ["zai", "zai", "z.ai", "z.ai", "z.ai"]),
            ("z-ai", ["zai", "zai", "z-ai", "z-ai", "z-ai"]),
            (
                "opencode-zen",
                [
                    "opencode",
                    "opencode",
                    "opencode-zen",
                    "opencode-zen",
                    "opencode-zen",
                ],
            ),
            (
                "opencode-go-auth",
                [
                    "opencode-go-auth",
                    "opencode-go",
                    "opencode-go-auth",
                    "opencode-go-auth",
                    "opencode-go-auth",
                ],
            ),
            ("qwen", ["qwen-portal", "qwen", "qwen", "qwen", "qwen"]),
            (
                "qwencloud",
                ["qwencloud", "qwen", "qwencloud", "qwencloud", "qwencloud"],
            ),
            (
                "modelstudio",
                ["modelstudio", "qwen", "modelstudio", "modelstudio", "modelstudio"],
            ),
            (
                "qwen-portal",
                [
                    "qwen-portal",
                    "qwen-portal",
                    "qwen-oauth",
                    "qwen-portal",
                    "qwen-portal",
                ],
            ),
            (
                "kimi-code",
                ["kimi-coding", "kimi", "kimi-code", "kimi-code", "kimi-code"],
            ),
            (
                "kimi-coding",
                ["kimi-coding", "kimi", "kimi-coding", "kimi-coding", "kimi-coding"],
            ),
            (
                "bedrock",
                ["bedrock", "amazon-bedrock", "bedrock", "bedrock", "bedrock"],
            ),
            ("doubao", ["doubao", "volcengine", "doubao", "doubao", "doubao"]),
            (
                "claude-cli",
                ["claude-cli", "anthropic", "anthropic", "anthropic", "anthropic"],
            ),
            (
                "codex-cli",
                ["codex-cli", "openai-codex", "codex-cli", "codex-cli", "codex-cli"],
            ),
            (
                "minimax-cn",
                ["minimax-cn", "minimax-cn", "minimax", "minimax", "minimax"],
            ),
            (
                "moonshotai",
                ["moonshotai", "moonshotai", "moonshot", "moonshotai", "moonshotai"],
            ),
            (
                "novitaai",
                ["novitaai", "novitaai", "novita", "novita", "novitaai"],
            ),
            (
                "volcengine-plan",
                [
                    "volcengine-plan",
                    "volcengine",
                    "volcengine",
                    "volcengine",
                    "volcengine-plan",
                ],
            ),
            ("x-ai", ["x-ai", "x-ai", "x-ai", "x-ai", "xai"]),
        ];
        for (text, expected) in rows {
            let found = RuleSet::ALL.map(|rules| normalize_provider(rules, text));
            let expected = expected.map(ProviderId::parse);
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(normalize_provider(RuleSet::V6_1, "  "), None);
    }

    #[test]
    fn the_order_of_the_provider_behind_an_alias_comes_first() {
        let claude = ProviderId::parse("claude-cli").unwrap();
        let keys = ["openai", "Claude-CLI", "Anthropic"];
        assert_eq!(order_key(RuleSet::V2_17, &claude, keys), Some("Claude-CLI"));
        assert_eq!(order_key(RuleSet::V4_29, &claude, keys), Some("Anthropic"));
        assert_eq!(order_key(RuleSet::V6_1, &claude, keys), Some("Anthropic"));
        assert_eq!(
            order_key(RuleSet::V6_1, &claude, ["claude-cli"]),
            Some("claude-cli")
        );
        let anthropic = ProviderId::parse("anthropic").unwrap();
        assert_eq!(order_key(RuleSet::V6_1, &anthropic, ["claude-cli"]), None);
    }
}
